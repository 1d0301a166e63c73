// Memory of the host for devices that compute on it.
#pragma once

#include <cstddef>

#include "absl/status/statusor.h"
#include "device/buffer.h"

namespace baton::device {

// At least 64-byte aligned and zeroed. Pieces of 2 MiB and more are aligned to huge pages and ask
// for them; their pages are touched first by whoever writes first. ResourceExhausted names the
// size.
absl::StatusOr<Buffer> AllocateHost(size_t bytes);

}  // namespace baton::device
