// Reads the configuration of the Llama family from a GGUF file's metadata or from a config.json.
#pragma once

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/model_config.h"

namespace baton::models {

// Checked by CheckConfig; without fingerprint. What would change the result and cannot be computed
// (experts, a sliding window, another activation, ...) is InvalidArgument naming file, field and
// value.
absl::StatusOr<ModelConfig> ReadLlamaConfig(const Checkpoint& checkpoint);

}  // namespace baton::models
