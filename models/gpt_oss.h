// gpt-oss (OpenAI 2025): attention with learned sinks and, in every other layer, a sliding window;
// experts with biases and a clamped SwiGLU, stored in MXFP4.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/model.h"
#include "models/model_registry.h"

namespace baton::models {

// From config.json; errors name field and value.
absl::StatusOr<ModelConfig> ReadGptOssConfig(const Checkpoint& checkpoint);

// `config` as read by ReadGptOssConfig; `device` must outlive the model. The checkpoint is not
// needed afterwards.
absl::StatusOr<std::unique_ptr<Model>> LoadGptOss(const Checkpoint& checkpoint,
                                                  const ModelConfig& config, device::Device& device,
                                                  const LoadOptions& options);

}  // namespace baton::models
