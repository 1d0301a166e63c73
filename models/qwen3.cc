#include "models/qwen3.h"

#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "models/dense_decoder.h"
#include "models/hf_decoder_config.h"

namespace baton::models {

absl::StatusOr<ModelConfig> ReadQwen3Config(const Checkpoint& checkpoint) {
  const HfConfig& hf = *checkpoint.hf_config();
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "hidden_act", "silu"));
  BATON_RETURN_IF_ERROR(HfAllowBlockFp8(hf));
  BATON_RETURN_IF_ERROR(hf.GetBool("attention_bias", false).status());
  BATON_ASSIGN_OR_RETURN(ModelConfig config, ReadHfDecoder(hf));
  BATON_RETURN_IF_ERROR(ReadQwenWindows(hf, config.layers).status());
  BATON_RETURN_IF_ERROR(ReadHfHeads(hf, config));
  return Checked(checkpoint, std::move(config));
}

absl::StatusOr<std::unique_ptr<Model>> LoadQwen3(const Checkpoint& checkpoint,
                                                 const ModelConfig& config, device::Device& device,
                                                 const LoadOptions& options) {
  const HfConfig& hf = *checkpoint.hf_config();
  BATON_ASSIGN_OR_RETURN(const bool biases, hf.GetBool("attention_bias", false));
  BATON_ASSIGN_OR_RETURN(const std::vector<int64_t> windows, ReadQwenWindows(hf, config.layers));
  const auto layer = [&](int32_t i) {
    return DenseLayer{.attention = {.input_biases = biases,
                                    .output_bias = biases,
                                    .head_norms = HeadNorms::kPerHead,
                                    .window = windows[i]}};
  };
  return LoadDenseDecoder(checkpoint, config, device, options, {.layer = layer});
}

}  // namespace baton::models
