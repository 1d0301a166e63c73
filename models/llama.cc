#include "models/llama.h"

#include <string>
#include <utility>

#include "base/status_macros.h"
#include "models/dense_decoder.h"
#include "models/hf_decoder_config.h"

namespace baton::models {
namespace {

// Biases of attention: all or none as config.json says; in a GGUF file those that layer 0 has. A
// bias that is then missing in some layer is an error, not zero.
absl::StatusOr<GroupedAttentionOptions> ReadBiases(const Checkpoint& checkpoint) {
  const std::string attention = "model.layers.0.self_attn.";
  GroupedAttentionOptions options;
  if (checkpoint.gguf() == nullptr) {
    BATON_ASSIGN_OR_RETURN(options.input_biases,
                           checkpoint.hf_config()->GetBool("attention_bias", false));
    options.output_bias = options.input_biases;
    return options;
  }
  for (const char* name : {"q_proj.bias", "k_proj.bias", "v_proj.bias"}) {
    options.input_biases = options.input_biases || checkpoint.Has(attention + name);
  }
  options.output_bias = checkpoint.Has(attention + "o_proj.bias");
  return options;
}

}  // namespace

absl::StatusOr<ModelConfig> ReadLlamaConfig(const Checkpoint& checkpoint) {
  const HfConfig& hf = *checkpoint.hf_config();
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "hidden_act", "silu"));
  BATON_RETURN_IF_ERROR(HfAllowNone(hf, "sliding_window"));
  BATON_RETURN_IF_ERROR(HfAllowBlockFp8(hf));
  BATON_RETURN_IF_ERROR(HfAllowOnlyBool(hf, "mlp_bias", false));
  BATON_ASSIGN_OR_RETURN(ModelConfig config, ReadHfDecoder(hf));
  BATON_RETURN_IF_ERROR(ReadHfHeads(hf, config));
  return Checked(checkpoint, std::move(config));
}

absl::StatusOr<std::unique_ptr<Model>> LoadLlama(const Checkpoint& checkpoint,
                                                 const ModelConfig& config, device::Device& device,
                                                 const LoadOptions& options) {
  BATON_ASSIGN_OR_RETURN(const GroupedAttentionOptions attention, ReadBiases(checkpoint));
  return LoadDenseDecoder(checkpoint, config, device, options,
                          {.layer = [&](int32_t) { return DenseLayer{.attention = attention}; }});
}

}  // namespace baton::models
