// What the metadata of a GGUF file says, as the fields of a config.json: families read one form.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "models/gguf/gguf_file.h"
#include "models/hf_config.h"

namespace baton::models {

// Fields of the family that general.architecture names; model_type is the family's. Of an
// architecture that no family has, model_type alone, which is its name. Errors of the fields name
// the metadata keys.
// InvalidArgument: metadata that would change the result and cannot be computed.
absl::StatusOr<std::unique_ptr<const HfConfig>> ReadGgufConfig(const GgufFile& file);

}  // namespace baton::models
