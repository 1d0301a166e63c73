// Multi-head latent attention (MLA; DeepSeek-V2, 2024, section 2.1): a token's keys and values of
// all heads are expanded from one short latent vector, and only this is cached.
//
// The cached row of a token is [rotated key, shared by all heads | normed latent]: one KV head
// whose value is the end of its key (KvGeometry::latent_dim). Nothing is ever expanded: queries are
// multiplied with the up-projection of the keys before attention, results with that of the values
// after it. Prefill and decode do the same, so a token's bits do not depend on the chunk it came
// in.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/decoder.h"
#include "models/weight_loader.h"

namespace baton::models {

struct LatentAttentionConfig {
  int64_t query_rank = 0;  // of compressed queries; 0: they are not compressed
  int64_t latent_dim = 0;  // numbers of the latent vector
  int64_t plain_dim = 0;   // of a head's query and key without rotation
  int64_t rotary_dim = 0;  // and with it
  int64_t value_dim = 0;   // of a head
  float scale = 0;         // of scores
};

// From `<prefix>self_attn.kv_a_proj_with_mqa.weight` and so on, and
// `<prefix>input_layernorm.weight`.
absl::StatusOr<std::unique_ptr<AttentionLayer>> LoadLatentAttention(
    WeightLoader& loader, DecoderContext& context, const std::string& prefix,
    const LatentAttentionConfig& config);

}  // namespace baton::models
