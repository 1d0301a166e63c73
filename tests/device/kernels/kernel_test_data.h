// Random inputs of kernel tests, the ISA levels to try, and a comparison of bits.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.h"
#include "device/device_factory.h"
#include "device/dtype.h"
#include "device/kernels/kernel_set.h"

namespace baton::device::kernels {

// Uniform in [-1, 1).
inline std::vector<float> RandomFloats(uint64_t seed, size_t count) {
  SeededRng rng(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    value = static_cast<float>(static_cast<int64_t>(rng.Next() >> 40) - (1 << 23)) * 0x1p-23f;
  }
  return values;
}

// A stored weight with every kind of byte: random nibbles or bytes, scales of either sign, a
// subnormal and a zero scale among them.
inline std::vector<uint8_t> RandomStored(uint64_t seed, DType dtype, int64_t rows, int64_t cols) {
  SeededRng rng(seed);
  const int64_t block = BlockBytes(dtype);
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * RowBytes(dtype, cols)));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(rng.Next());
  const int64_t count = static_cast<int64_t>(bytes.size()) / block;
  for (int64_t i = 0; i < count; ++i) {
    const float value = static_cast<float>(rng.Next() % 2001) / 1000.0f - 1.0f;
    uint8_t* at = bytes.data() + i * block;
    uint16_t half[2] = {FloatToHalf(value * 0.1f), FloatToHalf(value * -0.7f)};
    if (i % 97 == 5) half[0] = 0x0013;
    if (i % 89 == 7) half[0] = 0;
    if (dtype == DType::kF32) {
      std::memcpy(at, &value, 4);
    } else if (dtype == DType::kBF16) {
      std::memcpy(at, reinterpret_cast<const uint8_t*>(&value) + 2, 2);
    } else {
      std::memcpy(at, half, dtype == DType::kQ4_1 ? 4 : 2);
    }
  }
  return bytes;
}

inline std::vector<const KernelTable*> AllTables() {
  std::vector<const KernelTable*> tables;
  for (const std::string& isa : AvailableIsaLevels()) tables.push_back(*ChooseKernels(isa));
  return tables;
}

// Tells apart +0 and -0, and one NaN from another.
inline ::testing::AssertionResult SameBits(const std::vector<float>& a,
                                           const std::vector<float>& b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << "sizes differ";
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) {
      return ::testing::AssertionFailure() << "[" << i << "]: " << a[i] << " and " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace baton::device::kernels
