#include "models/gemma3.h"

#include <cmath>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "models/config_check.h"
#include "models/dense_decoder.h"
#include "models/hf_decoder_config.h"
#include "models/hf_rope.h"

namespace baton::models {
namespace {

struct Gemma3Config {
  std::vector<int64_t> windows;  // of each layer; 0: it sees all positions
  double query_scalar = 256;     // scores are divided by its root
};

absl::StatusOr<Gemma3Config> ReadOwn(const HfConfig& hf) {
  Gemma3Config own;
  BATON_ASSIGN_OR_RETURN(const int64_t layers, HfCount(hf, "num_hidden_layers", kMaxLayers));
  BATON_ASSIGN_OR_RETURN(const int64_t window, HfCount(hf, "sliding_window", kMaxContext, 4096));
  // Every sixth sees all.
  BATON_ASSIGN_OR_RETURN(own.windows, ReadHfWindows(hf, layers, window, [](int64_t layer) {
                           return (layer + 1) % 6 != 0;
                         }));
  for (const char* pattern : {"sliding_window_pattern", "_sliding_window_pattern"}) {
    if (hf.Has("layer_types") || !hf.Has(pattern)) continue;
    BATON_ASSIGN_OR_RETURN(const int64_t period, HfCount(hf, pattern, kMaxLayers));
    for (int64_t i = 0; i < layers; ++i) own.windows[i] = (i + 1) % period != 0 ? window : 0;
  }
  BATON_ASSIGN_OR_RETURN(own.query_scalar, hf.GetFloat("query_pre_attn_scalar", 256));
  if (!(own.query_scalar > 0) || !std::isfinite(own.query_scalar)) {
    return hf.Refusal("query_pre_attn_scalar", "needed a number above 0");
  }
  return own;
}

// Two rotary embeddings: of the layers that see all positions, with scaling, and of the others.
absl::Status ReadRopes(const HfConfig& hf, ModelConfig& config) {
  BATON_ASSIGN_OR_RETURN(const double window_base, hf.GetFloat("rope_local_base_freq", 10000.0));
  if (!hf.Has("rope_parameters")) {
    BATON_ASSIGN_OR_RETURN(const double base, hf.GetFloat("rope_theta", 1e6));
    BATON_ASSIGN_OR_RETURN(config.rope, ReadHfRope(hf, config.head_dim));
    config.rope.base = static_cast<float>(base);
    config.window_rope = RopeConfig{.base = static_cast<float>(window_base),
                                    .rotary_dim = config.head_dim,
                                    .style = config.rope.style};
    return absl::OkStatus();
  }
  BATON_ASSIGN_OR_RETURN(const HfConfig ropes, hf.GetObject("rope_parameters"));
  BATON_ASSIGN_OR_RETURN(const HfConfig full, ropes.GetObject("full_attention"));
  BATON_ASSIGN_OR_RETURN(config.rope, ReadHfRopeParameters(hf, full, 1e6, config.head_dim));
  BATON_ASSIGN_OR_RETURN(const HfConfig sliding, ropes.GetObject("sliding_attention"));
  BATON_ASSIGN_OR_RETURN(config.window_rope,
                         ReadHfRopeParameters(hf, sliding, window_base, config.head_dim));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ReadGemma3Config(const Checkpoint& checkpoint) {
  const HfConfig& hf = *checkpoint.hf_config();
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "hidden_activation", "gelu_pytorch_tanh"));
  BATON_RETURN_IF_ERROR(HfAllowNone(hf, "attn_logit_softcapping"));
  BATON_RETURN_IF_ERROR(HfAllowNone(hf, "final_logit_softcapping"));
  BATON_RETURN_IF_ERROR(HfAllowOnlyBool(hf, "use_bidirectional_attention", false));
  BATON_RETURN_IF_ERROR(HfAllowBlockFp8(hf));
  BATON_RETURN_IF_ERROR(hf.GetBool("attention_bias", false).status());
  BATON_RETURN_IF_ERROR(ReadOwn(hf).status());
  BATON_ASSIGN_OR_RETURN(ModelConfig config, ReadHfDecoder(hf));
  BATON_ASSIGN_OR_RETURN(config.tied_embeddings, hf.GetBool("tie_word_embeddings", true));
  BATON_ASSIGN_OR_RETURN(config.kv_heads, HfCount(hf, "num_key_value_heads", kMaxHeads, 4));
  BATON_ASSIGN_OR_RETURN(config.head_dim, HfCount(hf, "head_dim", kMaxHeadDim, 256));
  BATON_RETURN_IF_ERROR(ReadRopes(hf, config));
  return Checked(checkpoint, std::move(config));
}

absl::StatusOr<std::unique_ptr<Model>> LoadGemma3(const Checkpoint& checkpoint,
                                                  const ModelConfig& config, device::Device& device,
                                                  const LoadOptions& options) {
  const HfConfig& hf = *checkpoint.hf_config();
  BATON_ASSIGN_OR_RETURN(const Gemma3Config own, ReadOwn(hf));
  BATON_ASSIGN_OR_RETURN(const bool biases, hf.GetBool("attention_bias", false));
  const auto layer = [&](int32_t i) {
    return DenseLayer{.attention = {.input_biases = biases,
                                    .output_bias = biases,
                                    .head_norms = HeadNorms::kPerHead,
                                    .window = own.windows[i],
                                    .scale = static_cast<float>(1 / std::sqrt(own.query_scalar)),
                                    .output_norm = "post_attention_layernorm.weight"},
                      .feed_forward = {.norm = "pre_feedforward_layernorm.weight",
                                       .output_norm = "post_feedforward_layernorm.weight",
                                       .activation = device::Activation::kGeluTanh}};
  };
  return LoadDenseDecoder(checkpoint, config, device, options,
                          {.layer = layer,
                           .embedding_scale = std::sqrt(static_cast<float>(config.hidden)),
                           // Checkpoints hold gains less one; llama.cpp's converter adds it.
                           .norm_offset = checkpoint.gguf() == nullptr ? 1.0f : 0.0f});
}

}  // namespace baton::models
