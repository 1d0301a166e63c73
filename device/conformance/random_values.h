// Seeded values and weights for checks of devices.
#pragma once

#include <cstdint>
#include <vector>

#include "base/rng.h"
#include "device/dtype.h"

namespace baton::device {

// The same seed gives the same values on every machine. Not thread-safe.
class RandomValues {
 public:
  explicit RandomValues(uint64_t seed) : rng_(seed) {}

  // Roughly normal with the given deviation (the sum of twelve uniform numbers).
  float Next(float deviation = 1.0f);
  std::vector<float> Many(int64_t count, float deviation = 1.0f);
  // 0 .. limit - 1.
  int32_t Below(int64_t limit);

  // A weight as a file stores it, row-major [rows, cols]. Quantised blocks are drawn as such: any
  // bytes of theirs are valid weights. REQUIRES: cols is a multiple of BlockElements(dtype).
  std::vector<uint8_t> Stored(DType dtype, int64_t rows, int64_t cols);

 private:
  void FillBlock(DType dtype, uint8_t* out);

  SeededRng rng_;
};

}  // namespace baton::device
