// The numbers of a model that time and memory depend on, from its config.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace baton::cli {

struct ModelShape {
  std::string name;
  int64_t hidden = 0, layers = 0, vocab = 0;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t intermediate = 0;  // of a dense layer
  bool tied_embeddings = false;
  double weight_bytes = 2;  // a weight
  // Latent attention (DeepSeek-V2, 2024); kv_rank 0: plain grouped attention.
  int64_t q_rank = 0, kv_rank = 0, nope_dim = 0, rope_dim = 0, value_dim = 0;
  // Mixture of experts; experts 0: every layer is dense.
  int64_t experts = 0, experts_per_token = 0, expert_intermediate = 0, shared_experts = 0;
  int64_t dense_layers = 0;  // at the front, of a mixture

  int64_t moe_layers() const { return experts > 0 ? layers - dense_layers : 0; }
  // Weights of one layer's attention, of one expert, of one dense feed-forward.
  int64_t AttentionWeights() const;
  int64_t ExpertWeights() const { return 3 * hidden * expert_intermediate; }
  int64_t DenseWeights() const { return 3 * hidden * intermediate; }
  int64_t Weights() const;        // all of them
  int64_t ActiveWeights() const;  // that one token is multiplied with
  // Numbers that the cache keeps for one token in one layer.
  int64_t CachedNumbers() const {
    return kv_rank > 0 ? kv_rank + rope_dim : 2 * kv_heads * head_dim;
  }
};

// Reads config.json (a file, or a folder that has one), or a name in `folder`. `bits_per_weight`
// above 0 overrides what the file says. InvalidArgument names the field that is missing or not a
// number; NotFound lists the names in `folder`.
absl::StatusOr<ModelShape> ReadModelShape(const std::string& model, const std::string& folder,
                                          double bits_per_weight);

}  // namespace baton::cli
