// The fields of config.json that decoder families share.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/hf_config.h"
#include "models/model_config.h"

namespace baton::models {

// A whole number from 1 to `limit`. InvalidArgument naming field, value and what is allowed.
absl::StatusOr<int64_t> HfCount(const HfConfig& hf, const std::string& key, int64_t limit,
                                std::optional<int64_t> absent = std::nullopt);

// For fields that would change the result with any value but `only`, which an absent field means:
// InvalidArgument naming field and value.
absl::Status HfAllowOnlyText(const HfConfig& hf, const std::string& key, const std::string& only);
absl::Status HfAllowOnlyBool(const HfConfig& hf, const std::string& key, bool only);
absl::Status HfAllowOnlyOne(const HfConfig& hf, const std::string& key);
// Only absent or null.
absl::Status HfAllowNone(const HfConfig& hf, const std::string& key);

// quantization_config: absent, or FP8 e4m3 with a scale per block of weights (WeightLoader).
absl::Status HfAllowBlockFp8(const HfConfig& hf);

// Sizes, number of query heads, epsilon, tied embeddings, end-of-sequence ids. Not heads nor rope.
absl::StatusOr<ModelConfig> ReadHfDecoder(const HfConfig& hf);
// KV heads, head dimension and rotary embedding of grouped-query attention.
absl::Status ReadHfHeads(const HfConfig& hf, ModelConfig& config);

// Adds an id once; one beyond the vocabulary can never be produced and is left out.
void AddEosId(int64_t id, ModelConfig& config);

// The config.json of a family that is read from Hugging Face folders only. InvalidArgument: `path`
// is a GGUF file.
absl::StatusOr<const HfConfig*> NeededHfConfig(const Checkpoint& checkpoint);

// Sets the architecture and checks the whole (CheckConfig); errors name the file.
absl::StatusOr<ModelConfig> Checked(const Checkpoint& checkpoint, ModelConfig config);

}  // namespace baton::models
