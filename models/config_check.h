// What every model's configuration must fulfil before anything is allocated by it.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "models/model_config.h"

namespace baton::models {

// Limits of a model, far above what has been published and far below what overflows.
inline constexpr int64_t kMaxLayers = 1024;
inline constexpr int64_t kMaxHidden = 1 << 17;
inline constexpr int64_t kMaxIntermediate = 1 << 20;
inline constexpr int64_t kMaxHeads = 1024;
inline constexpr int64_t kMaxHeadDim = 1024;
inline constexpr int64_t kMaxVocab = 1 << 22;
inline constexpr int64_t kMaxContext = int64_t{1} << 26;

// OK when `value` lies in [1, limit]; otherwise InvalidArgument "<field> is <value>, allowed are 1
// to <limit>".
absl::Status CheckCount(const char* field, int64_t value, int64_t limit);

// The whole configuration, limits included; InvalidArgument names field, value and what is allowed.
absl::Status CheckConfig(const ModelConfig& config);

}  // namespace baton::models
