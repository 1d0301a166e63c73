// Qwen3 (Yang et al. 2025): Llama with norms of each query and key head instead of Qwen2's biases.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/model_registry.h"

namespace baton::models {

absl::StatusOr<ModelConfig> ReadQwen3Config(const Checkpoint& checkpoint);

// `config` as read by ReadQwen3Config; `device` must outlive the model. The checkpoint is not
// needed afterwards.
absl::StatusOr<std::unique_ptr<Model>> LoadQwen3(const Checkpoint& checkpoint,
                                                 const ModelConfig& config, device::Device& device,
                                                 const LoadOptions& options);

}  // namespace baton::models
