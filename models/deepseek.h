// DeepSeek-V2 and V3 (2024) and Kimi-K2 (2025): multi-head latent attention, and after the first
// layers mixtures of many small experts beside one network that every token visits.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/model.h"
#include "models/model_registry.h"

namespace baton::models {

// `config` as read by ReadDeepseekConfig (deepseek_config.h); `device` must outlive the model. The
// checkpoint is not needed afterwards.
absl::StatusOr<std::unique_ptr<Model>> LoadDeepseek(const Checkpoint& checkpoint,
                                                    const ModelConfig& config,
                                                    device::Device& device,
                                                    const LoadOptions& options);

}  // namespace baton::models
