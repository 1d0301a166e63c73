// Feed-forward layers: one dense network, or a mixture of experts with networks that all tokens
// share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/decoder.h"
#include "models/expert_routing.h"
#include "models/weight_loader.h"

namespace baton::models {

struct FeedForwardOptions {
  // Tensors of the layer: the norm of its input and that of its output before it is added to the
  // residual. Empty: there is none.
  std::string norm = "post_attention_layernorm.weight";
  std::string output_norm;
  bool fused = false;  // one mlp.gate_up_proj: rows of the gate, then of up (Phi-3)
  device::Activation activation = device::Activation::kSilu;
};

// x += norm(down(activation(gate norm(x)) * (up norm(x)))), from `<prefix>mlp.gate_proj.weight` and
// so on, and `<prefix><options.norm>`.
absl::StatusOr<std::unique_ptr<FeedForwardLayer>> LoadDenseFeedForward(
    WeightLoader& loader, DecoderContext& context, const std::string& prefix, int64_t intermediate,
    const FeedForwardOptions& options);

// The weights of a mixture as a family's loader fills them.
struct MixtureWeights {
  device::Buffer norm;                     // [hidden]
  std::unique_ptr<device::Weight> router;  // [experts, hidden]
  device::Buffer router_bias;              // [experts], added to the logits; may be empty
  std::vector<float> choice_bias;          // [experts], added to scores for the choice; or empty
  std::vector<device::Expert> experts;     // borrow from `owned` and `biases`
  std::vector<std::unique_ptr<device::Weight>> owned;
  std::vector<device::Buffer> biases;
  std::unique_ptr<device::Weight> shared_gate, shared_up, shared_down;  // null: nothing is shared
};

struct MixtureConfig {
  RoutingConfig routing;
  int64_t intermediate = 0;  // of one expert
  device::ExpertActivation activation = device::ExpertActivation::kSilu;
  float limit = 0;  // of the clamped activation
  float alpha = 0;
};

// What a family calls the tensors of its mixture.
struct MixtureNames {
  std::string norm;     // of the norm's gain
  std::string router;   // "...mlp.gate.weight"
  std::string experts;  // "...mlp.experts.", followed by "<number>.<gate>.weight"
  const char *gate, *up, *down;
};

// Norm, router and experts that are stored as one tensor each.
absl::StatusOr<MixtureWeights> LoadMixtureWeights(WeightLoader& loader, const ModelConfig& model,
                                                  const MixtureConfig& config,
                                                  const MixtureNames& names);

// x += shared(norm(x)) + sum of weight * expert(norm(x)) over the routed experts.
absl::StatusOr<std::unique_ptr<FeedForwardLayer>> MakeMixture(DecoderContext& context,
                                                              const MixtureConfig& config,
                                                              MixtureWeights weights);

}  // namespace baton::models
