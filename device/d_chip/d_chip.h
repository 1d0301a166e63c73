// The D-chip backend (latency: decode), run for real on the host's vector units.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "device/device_factory.h"

namespace baton::device {

// Errors of kernels::ChooseKernels. REQUIRES: 1 <= options.threads <= 256.
absl::StatusOr<std::unique_ptr<Device>> MakeDChip(const DeviceOptions& options);

}  // namespace baton::device
