// Mistral (Jiang et al. 2023): Llama whose layers all see a sliding window.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/model_registry.h"

namespace baton::models {

absl::StatusOr<ModelConfig> ReadMistralConfig(const Checkpoint& checkpoint);

// `config` as read by ReadMistralConfig; `device` must outlive the model. The checkpoint is not
// needed afterwards.
absl::StatusOr<std::unique_ptr<Model>> LoadMistral(const Checkpoint& checkpoint,
                                                   const ModelConfig& config,
                                                   device::Device& device,
                                                   const LoadOptions& options);

}  // namespace baton::models
