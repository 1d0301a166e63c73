#include "device/cpu_reference/dequantize.h"

#include <cstdint>
#include <cstring>

namespace baton::device {
namespace {

uint16_t Load16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

// One block of 32 weights (dtype.h gives the formats).
void DequantizeBlock(DType dtype, const uint8_t* block, float* out) {
  const float d = HalfToFloat(Load16(block));
  if (dtype == DType::kQ8_0) {
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
    return;
  }
  const bool has_min = dtype == DType::kQ4_1;
  const float m = has_min ? HalfToFloat(Load16(block + 2)) : 0.0f;
  const uint8_t* nibbles = block + (has_min ? 4 : 2);
  for (int i = 0; i < 32; ++i) {
    const int q = i < 16 ? nibbles[i] & 0xf : nibbles[i - 16] >> 4;
    out[i] = has_min ? d * static_cast<float>(q) + m : d * static_cast<float>(q - 8);
  }
}

}  // namespace

std::vector<float> Dequantize(const StoredTensor& stored) {
  std::vector<float> out(static_cast<size_t>(stored.rows * stored.cols));
  const uint8_t* bytes = static_cast<const uint8_t*>(stored.data);
  const int64_t count = stored.rows * stored.cols;
  switch (stored.dtype) {
    case DType::kF32:
      std::memcpy(out.data(), bytes, out.size() * sizeof(float));
      break;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = HalfToFloat(Load16(bytes + 2 * i));
      break;
    case DType::kBF16:
      for (int64_t i = 0; i < count; ++i) out[i] = BFloat16ToFloat(Load16(bytes + 2 * i));
      break;
    default:
      for (int64_t block = 0; block < count / 32; ++block) {
        DequantizeBlock(stored.dtype, bytes + block * BlockBytes(stored.dtype),
                        out.data() + block * 32);
      }
  }
  return out;
}

}  // namespace baton::device
