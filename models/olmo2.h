// OLMo 2 (Walsh et al. 2025): no norm before attention and feed-forward network but one after each,
// and norms of all queries and of all keys together.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/model_registry.h"

namespace baton::models {

absl::StatusOr<ModelConfig> ReadOlmo2Config(const Checkpoint& checkpoint);

// `config` as read by ReadOlmo2Config; `device` must outlive the model. The checkpoint is not
// needed afterwards.
absl::StatusOr<std::unique_ptr<Model>> LoadOlmo2(const Checkpoint& checkpoint,
                                                 const ModelConfig& config, device::Device& device,
                                                 const LoadOptions& options);

}  // namespace baton::models
