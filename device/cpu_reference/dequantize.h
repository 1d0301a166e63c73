// Stored weights to float32, by the definition of each format.
#pragma once

#include <vector>

#include "device/tensor.h"

namespace baton::device {

// Row-major [rows, cols]. REQUIRES: the tensor was validated (whole blocks, not i32).
std::vector<float> Dequantize(const StoredTensor& stored);

}  // namespace baton::device
