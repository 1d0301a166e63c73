#include "device/conformance/random_values.h"

#include <cstring>

namespace baton::device {
namespace {

void Put16(uint8_t* out, uint16_t value) { std::memcpy(out, &value, sizeof(value)); }

}  // namespace

float RandomValues::Next(float deviation) {
  double sum = 0;
  for (int i = 0; i < 12; ++i) sum += static_cast<double>(rng_.Next() >> 11) * 0x1p-53;
  return static_cast<float>((sum - 6.0) * deviation);
}

std::vector<float> RandomValues::Many(int64_t count, float deviation) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = Next(deviation);
  return values;
}

int32_t RandomValues::Below(int64_t limit) {
  return static_cast<int32_t>(rng_.Next() % static_cast<uint64_t>(limit));
}

std::vector<uint8_t> RandomValues::Stored(DType dtype, int64_t rows, int64_t cols) {
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * RowBytes(dtype, cols)));
  const size_t block = static_cast<size_t>(BlockBytes(dtype));
  for (size_t at = 0; at < bytes.size(); at += block) FillBlock(dtype, &bytes[at]);
  return bytes;
}

void RandomValues::FillBlock(DType dtype, uint8_t* out) {
  const float value = Next(0.1f);
  if (dtype == DType::kF32) {
    std::memcpy(out, &value, sizeof(value));
  } else if (dtype == DType::kF16) {
    Put16(out, FloatToHalf(value));
  } else if (dtype == DType::kBF16) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    Put16(out, static_cast<uint16_t>(bits >> 16));
  } else {
    for (int64_t i = 2; i < BlockBytes(dtype); ++i) out[i] = static_cast<uint8_t>(Below(256));
    Put16(out, FloatToHalf(Next(0.01f)));
    if (dtype == DType::kQ4_1) Put16(out + 2, FloatToHalf(Next(0.05f)));
  }
}

}  // namespace baton::device
