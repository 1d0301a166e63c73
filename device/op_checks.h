// What must hold of an op's arguments before any chip touches them. Device calls these once per op.
#pragma once

#include "absl/status/status.h"
#include "device/ops.h"

namespace baton::device {

// Each: OK, or InvalidArgument that names op, argument, what is needed and what was given.
absl::Status Validate(const EmbedArgs& args);
absl::Status Validate(const RmsNormArgs& args);
absl::Status Validate(const LinearArgs& args);
absl::Status Validate(const GatedLinearArgs& args);
absl::Status Validate(const RopeArgs& args);
absl::Status Validate(const AppendKvArgs& args);
absl::Status Validate(const AttentionArgs& args);
absl::Status Validate(const GatherRowsArgs& args);
absl::Status Validate(const HeadLinearArgs& args);
absl::Status Validate(const CopyHeadsArgs& args);
absl::Status Validate(const ExpertsArgs& args);
// For Device::Prepare: a known dtype, at least one row and column, whole blocks in a row.
absl::Status Validate(const StoredTensor& stored);

}  // namespace baton::device
