// Phi-3 and Phi-4-mini (Abdin et al. 2024): Llama with fused projections, a sliding window,
// rotation of a part of each head, and LongRoPE.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/model_registry.h"

namespace baton::models {

absl::StatusOr<ModelConfig> ReadPhi3Config(const Checkpoint& checkpoint);

// `config` as read by ReadPhi3Config; `device` must outlive the model. The checkpoint is not needed
// afterwards.
absl::StatusOr<std::unique_ptr<Model>> LoadPhi3(const Checkpoint& checkpoint,
                                                const ModelConfig& config, device::Device& device,
                                                const LoadOptions& options);

}  // namespace baton::models
