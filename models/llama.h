// The Llama family (Touvron et al. 2023, Llama 3: Grattafiori et al. 2024): pre-norm transformer
// with grouped-query attention, rotary embedding and SwiGLU.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/model_registry.h"

namespace baton::models {

absl::StatusOr<ModelConfig> ReadLlamaConfig(const Checkpoint& checkpoint);

// `config` as read by ReadLlamaConfig; `device` must outlive the model. The checkpoint is not
// needed afterwards.
absl::StatusOr<std::unique_ptr<Model>> LoadLlama(const Checkpoint& checkpoint,
                                                 const ModelConfig& config, device::Device& device,
                                                 const LoadOptions& options);

}  // namespace baton::models
