// Grouped-query attention with rotary embedding (GQA, Ainslie et al. 2023), with what families add
// to it: biases, norms of queries and keys, norms before and after, sinks, windows.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/decoder.h"
#include "models/weight_loader.h"

namespace baton::models {

// self_attn.q_norm and k_norm.
enum class HeadNorms : uint8_t {
  kNone,
  kPerHead,  // [head_dim], each head for itself (Qwen3, Gemma 3)
  kWhole,    // [heads * head_dim], all heads together (OLMo 2)
};

struct GroupedAttentionOptions {
  bool input_biases = false;  // of the projections to queries, keys and values
  bool output_bias = false;
  HeadNorms head_norms = HeadNorms::kNone;
  bool sinks = false;  // self_attn.sinks, [query_heads]
  bool fused = false;  // one self_attn.qkv_proj: rows of queries, keys, values (Phi-3)
  int64_t window = 0;  // 0: all earlier positions; otherwise the last so many
  float scale = 0;     // of the scores; 0: 1 / sqrt(head_dim)
  // Tensors of the layer: the norm of its input and that of its output before it is added to the
  // residual. Empty: there is none.
  std::string norm = "input_layernorm.weight";
  std::string output_norm;
};

// From `<prefix>self_attn.q_proj.weight` and so on, and `<prefix><options.norm>`. Rotates by the
// context's table for the window.
absl::StatusOr<std::unique_ptr<AttentionLayer>> LoadGroupedAttention(
    WeightLoader& loader, DecoderContext& context, const std::string& prefix,
    const GroupedAttentionOptions& options);

}  // namespace baton::models
