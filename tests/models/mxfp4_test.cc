// MXFP4 by the definition of its format.
#include "models/mxfp4.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace baton::models {
namespace {

TEST(Mxfp4, EveryCodeHasItsValueLowNibbleFirst) {
  const float values[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  std::vector<uint8_t> block(kMxfp4BlockBytes);
  for (int k = 0; k < 16; ++k) block[k] = static_cast<uint8_t>(k | (15 - k) << 4);
  const uint8_t scale = 127 - 3;
  std::vector<float> out(kMxfp4BlockElements);
  DequantizeMxfp4(block.data(), &scale, 1, out.data());
  for (int k = 0; k < 16; ++k) {
    const float low = (k < 8 ? 1.0f : -1.0f) * values[k % 8] / 8;
    EXPECT_EQ(out[2 * k], low) << k;
    EXPECT_EQ(out[2 * k + 1], (k < 8 ? -1.0f : 1.0f) * values[(15 - k) % 8] / 8) << k;
  }
}

TEST(Mxfp4, ScalesReachFromTheSmallestPowerToTheLargestAndNan) {
  const std::vector<uint8_t> blocks(3 * kMxfp4BlockBytes, 0x12);  // 1, 0.5, 1, 0.5, ...
  const uint8_t scales[3] = {0, 254, 255};
  std::vector<float> out(3 * kMxfp4BlockElements);
  DequantizeMxfp4(blocks.data(), scales, 3, out.data());
  EXPECT_EQ(out[0], std::ldexp(1.0f, -127));
  EXPECT_EQ(out[1], std::ldexp(1.0f, -128));
  EXPECT_EQ(out[32], std::ldexp(1.0f, 127));
  EXPECT_TRUE(std::isnan(out[64]));
}

}  // namespace
}  // namespace baton::models
