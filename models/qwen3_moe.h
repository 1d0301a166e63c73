// Qwen3-MoE (Qwen team 2025): norms of every query and key head, and in most layers a mixture of
// experts without a shared one.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/model.h"
#include "models/model_registry.h"

namespace baton::models {

// From config.json; errors name field and value.
absl::StatusOr<ModelConfig> ReadQwen3MoeConfig(const Checkpoint& checkpoint);

// `config` as read by ReadQwen3MoeConfig; `device` must outlive the model. The checkpoint is not
// needed afterwards.
absl::StatusOr<std::unique_ptr<Model>> LoadQwen3Moe(const Checkpoint& checkpoint,
                                                    const ModelConfig& config,
                                                    device::Device& device,
                                                    const LoadOptions& options);

}  // namespace baton::models
