// The fields of config.json that decoder families share.
#pragma once

#include <optional>
#include <string>
#include <vector>

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
// The same where a part of each head may be rotated.
absl::Status ReadHfPartialHeads(const HfConfig& hf, ModelConfig& config);

// Adds an id once; one beyond the vocabulary can never be produced and is left out.
void AddEosId(int64_t id, ModelConfig& config);

// How many positions each layer sees, 0: all. From layer_types, where only "sliding_attention" (the
// last `window`) and "full_attention" are allowed; where it is absent, `slides` says of which
// layers. A window of 0: no layer slides, whatever its type.
absl::StatusOr<std::vector<int64_t>> ReadHfWindows(const HfConfig& hf, int64_t layers,
                                                   int64_t window, bool (*slides)(int64_t layer));
// The field sliding_window; 0 where it is absent.
absl::StatusOr<int64_t> ReadHfWindow(const HfConfig& hf);
// Qwen's: those of the layers from max_window_layers on, if use_sliding_window.
absl::StatusOr<std::vector<int64_t>> ReadQwenWindows(const HfConfig& hf, int64_t layers);

// Sets the architecture and the name that a GGUF file has, adds the tokens that end a generation by a
// folder's generation_config.json, and checks the whole (CheckConfig);
// errors name the file.
absl::StatusOr<ModelConfig> Checked(const Checkpoint& checkpoint, ModelConfig config);

}  // namespace baton::models
