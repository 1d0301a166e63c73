// Mixtral (Jiang et al. 2024): Llama's attention, and in every layer a mixture of experts of which
// a token visits the few that its router scores highest.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/model.h"
#include "models/model_registry.h"

namespace baton::models {

// From config.json; errors name field and value.
absl::StatusOr<ModelConfig> ReadMixtralConfig(const Checkpoint& checkpoint);

// `config` as read by ReadMixtralConfig; `device` must outlive the model. The checkpoint is not
// needed afterwards.
absl::StatusOr<std::unique_ptr<Model>> LoadMixtral(const Checkpoint& checkpoint,
                                                   const ModelConfig& config,
                                                   device::Device& device,
                                                   const LoadOptions& options);

}  // namespace baton::models
