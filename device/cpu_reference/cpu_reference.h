// The reference device: slow, obvious, accurate.
#pragma once

#include <memory>

#include "device/device.h"

namespace baton::device {

// Weights are dequantised exactly to float32; products are summed in double. Supports every dtype
// of StoredTensor, and KV caches of f16 and f32.
std::unique_ptr<Device> MakeCpuReference();

}  // namespace baton::device
