// Gemma 3 (Kamath et al. 2025), text: norms before and after attention and feed-forward network,
// norms of query and key heads, GeGLU, scaled embeddings; most layers see a sliding window and
// rotate by a base of their own.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/model_registry.h"

namespace baton::models {

absl::StatusOr<ModelConfig> ReadGemma3Config(const Checkpoint& checkpoint);

// `config` as read by ReadGemma3Config; `device` must outlive the model. The checkpoint is not
// needed afterwards.
absl::StatusOr<std::unique_ptr<Model>> LoadGemma3(const Checkpoint& checkpoint,
                                                  const ModelConfig& config, device::Device& device,
                                                  const LoadOptions& options);

}  // namespace baton::models
