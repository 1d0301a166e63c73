#include "models/phi3.h"

#include <utility>

#include "base/status_macros.h"
#include "models/dense_decoder.h"
#include "models/hf_decoder_config.h"

namespace baton::models {

absl::StatusOr<ModelConfig> ReadPhi3Config(const Checkpoint& checkpoint) {
  const HfConfig& hf = *checkpoint.hf_config();
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "hidden_act", "silu"));
  BATON_RETURN_IF_ERROR(HfAllowOnlyBool(hf, "attention_bias", false));
  BATON_RETURN_IF_ERROR(HfAllowBlockFp8(hf));
  BATON_RETURN_IF_ERROR(ReadHfWindow(hf).status());
  BATON_ASSIGN_OR_RETURN(ModelConfig config, ReadHfDecoder(hf));
  BATON_RETURN_IF_ERROR(ReadHfPartialHeads(hf, config));
  return Checked(checkpoint, std::move(config));
}

absl::StatusOr<std::unique_ptr<Model>> LoadPhi3(const Checkpoint& checkpoint,
                                                const ModelConfig& config, device::Device& device,
                                                const LoadOptions& options) {
  BATON_ASSIGN_OR_RETURN(const int64_t window, ReadHfWindow(*checkpoint.hf_config()));
  const auto layer = [&](int32_t) {
    return DenseLayer{.attention = {.fused = true, .window = window},
                      .feed_forward = {.fused = true}};
  };
  return LoadDenseDecoder(checkpoint, config, device, options, {.layer = layer});
}

}  // namespace baton::models
