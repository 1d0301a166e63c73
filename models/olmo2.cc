#include "models/olmo2.h"

#include <utility>

#include "base/status_macros.h"
#include "models/dense_decoder.h"
#include "models/hf_decoder_config.h"

namespace baton::models {

absl::StatusOr<ModelConfig> ReadOlmo2Config(const Checkpoint& checkpoint) {
  const HfConfig& hf = *checkpoint.hf_config();
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "hidden_act", "silu"));
  BATON_RETURN_IF_ERROR(HfAllowNone(hf, "sliding_window"));
  BATON_RETURN_IF_ERROR(HfAllowBlockFp8(hf));
  BATON_RETURN_IF_ERROR(hf.GetBool("attention_bias", false).status());
  BATON_ASSIGN_OR_RETURN(ModelConfig config, ReadHfDecoder(hf));
  BATON_RETURN_IF_ERROR(ReadHfHeads(hf, config));
  return Checked(checkpoint, std::move(config));
}

absl::StatusOr<std::unique_ptr<Model>> LoadOlmo2(const Checkpoint& checkpoint,
                                                 const ModelConfig& config, device::Device& device,
                                                 const LoadOptions& options) {
  BATON_ASSIGN_OR_RETURN(const bool biases,
                         checkpoint.hf_config()->GetBool("attention_bias", false));
  const DenseLayer layer = {
      .attention = {.input_biases = biases,
                    .output_bias = biases,
                    .head_norms = HeadNorms::kWhole,
                    .norm = "",
                    .output_norm = "post_attention_layernorm.weight"},
      .feed_forward = {.norm = "", .output_norm = "post_feedforward_layernorm.weight"}};
  return LoadDenseDecoder(checkpoint, config, device, options,
                          {.layer = [&](int32_t) { return layer; }});
}

}  // namespace baton::models
