// The P-chip backend (throughput: prefill), run for real on the host's vector units.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "device/device_factory.h"

namespace baton::device {

// Errors of kernels::ChooseKernels. REQUIRES: 1 <= options.threads <= 256.
absl::StatusOr<std::unique_ptr<Device>> MakePChip(const DeviceOptions& options);

}  // namespace baton::device
