#include "device/cpu_reference/dequantize.h"

#include "device/block_formats.h"

namespace baton::device {

std::vector<float> Dequantize(const StoredTensor& stored) {
  std::vector<float> out(static_cast<size_t>(stored.rows * stored.cols));
  Dequantize(stored.dtype, stored.data, stored.rows * stored.cols, out.data());
  return out;
}

}  // namespace baton::device
