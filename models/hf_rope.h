// The rotary embedding that a config.json describes, in the older form (rope_theta, rope_scaling)
// or the newer one (rope_parameters).
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "models/hf_config.h"
#include "models/model_config.h"

namespace baton::models {

// Of whole heads: `head_dim` becomes rotary_dim. Errors name the field and what is allowed.
absl::StatusOr<RopeConfig> ReadHfRope(const HfConfig& config, int32_t head_dim);

// The same of the part of each head that partial_rotary_factor says.
absl::StatusOr<RopeConfig> ReadHfPartialRope(const HfConfig& config, int32_t head_dim);

// From one object of the newer form, which may be one of several. `base` where it has no
// rope_theta.
absl::StatusOr<RopeConfig> ReadHfRopeParameters(const HfConfig& config, const HfConfig& parameters,
                                                double base, int32_t head_dim);

}  // namespace baton::models
