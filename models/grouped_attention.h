// Grouped-query attention with rotary embedding (GQA, Ainslie et al. 2023), with what families add
// to it: biases, norms of queries and keys per head, sinks.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/decoder.h"
#include "models/weight_loader.h"

namespace baton::models {

struct GroupedAttentionOptions {
  bool biases = false;      // of all four projections
  bool head_norms = false;  // self_attn.q_norm and k_norm, [head_dim] (Qwen3)
  bool sinks = false;       // self_attn.sinks, [query_heads]
  int64_t window = 0;       // 0: all earlier positions; otherwise the last so many
};

// From `<prefix>self_attn.q_proj.weight` and so on, and `<prefix>input_layernorm.weight`.
absl::StatusOr<std::unique_ptr<AttentionLayer>> LoadGroupedAttention(
    WeightLoader& loader, DecoderContext& context, const std::string& prefix,
    const GroupedAttentionOptions& options);

}  // namespace baton::models
