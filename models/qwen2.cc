#include "models/qwen2.h"

#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "models/dense_decoder.h"
#include "models/hf_decoder_config.h"

namespace baton::models {

absl::StatusOr<ModelConfig> ReadQwen2Config(const Checkpoint& checkpoint) {
  const HfConfig& hf = *checkpoint.hf_config();
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "hidden_act", "silu"));
  BATON_RETURN_IF_ERROR(HfAllowOnlyBool(hf, "use_mrope", false));
  BATON_RETURN_IF_ERROR(HfAllowBlockFp8(hf));
  BATON_ASSIGN_OR_RETURN(ModelConfig config, ReadHfDecoder(hf));
  BATON_RETURN_IF_ERROR(ReadQwenWindows(hf, config.layers).status());
  BATON_RETURN_IF_ERROR(ReadHfHeads(hf, config));
  return Checked(checkpoint, std::move(config));
}

absl::StatusOr<std::unique_ptr<Model>> LoadQwen2(const Checkpoint& checkpoint,
                                                 const ModelConfig& config, device::Device& device,
                                                 const LoadOptions& options) {
  BATON_ASSIGN_OR_RETURN(const std::vector<int64_t> windows,
                         ReadQwenWindows(*checkpoint.hf_config(), config.layers));
  const auto layer = [&](int32_t i) {
    return DenseLayer{.attention = {.input_biases = true, .window = windows[i]}};
  };
  return LoadDenseDecoder(checkpoint, config, device, options, {.layer = layer});
}

}  // namespace baton::models
