// Qwen2 and Qwen2.5 (Yang et al. 2024): Llama with biases of queries, keys and values, and sliding
// windows in the upper layers where the configuration switches them on.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/model_registry.h"

namespace baton::models {

absl::StatusOr<ModelConfig> ReadQwen2Config(const Checkpoint& checkpoint);

// `config` as read by ReadQwen2Config; `device` must outlive the model. The checkpoint is not
// needed afterwards.
absl::StatusOr<std::unique_ptr<Model>> LoadQwen2(const Checkpoint& checkpoint,
                                                 const ModelConfig& config, device::Device& device,
                                                 const LoadOptions& options);

}  // namespace baton::models
