#include "device/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <string>

#include "base/rng.h"

namespace baton::device {
namespace {

constexpr DType kAll[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kI32,
                          DType::kQ8_0, DType::kQ4_0, DType::kQ4_1};

float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// The definition of IEEE half precision, in double.
double SlowHalf(uint16_t half) {
  const double sign = half & 0x8000 ? -1 : 1;
  const int exponent = half >> 10 & 0x1f, mantissa = half & 0x3ff;
  if (exponent == 31) return sign * std::numeric_limits<double>::infinity();
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

// The nearest half by search over all magnitudes, which are ordered as their bits are; of two that
// are equally near, the one with the even last bit. Infinity counts as 65536, the next number that
// more exponents would give.
uint16_t SlowToHalf(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(double{value});
  if (magnitude >= 65536) return sign | 0x7c00;
  uint16_t below = 0;  // the largest that is not above
  for (int bit = 14; bit >= 0; --bit) {
    const uint16_t candidate = below | static_cast<uint16_t>(1 << bit);
    if (candidate <= 0x7bff && SlowHalf(candidate) <= magnitude) below = candidate;
  }
  const double above = below == 0x7bff ? 65536 : SlowHalf(below + 1);
  const double down = magnitude - SlowHalf(below), up = above - magnitude;
  const bool round_up = up < down || (up == down && below % 2 == 1);
  return sign | static_cast<uint16_t>(below + round_up);
}

TEST(Half, EveryValueIsReadByTheDefinitionAndComesBack) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const uint16_t half = static_cast<uint16_t>(i);
    const float value = HalfToFloat(half);
    if ((half & 0x7c00) == 0x7c00 && (half & 0x3ff) != 0) {
      ASSERT_TRUE(std::isnan(value)) << half;
      ASSERT_EQ(FloatToHalf(value), half | 0x200) << "NaN keeps sign and payload, quiet";
      continue;
    }
    ASSERT_EQ(double{value}, SlowHalf(half)) << half;
    ASSERT_EQ(std::signbit(value), (half & 0x8000) != 0) << half;
    ASSERT_EQ(FloatToHalf(value), half);
  }
}

TEST(Half, RoundsToNearestEvenBetweenAllNeighbours) {
  for (uint16_t half = 0; half < 0x7c00; ++half) {
    const double next = half == 0x7bff ? 65536 : SlowHalf(half + 1);
    const float middle = static_cast<float>((SlowHalf(half) + next) / 2);  // exact
    for (const float magnitude :
         {middle, std::nextafterf(middle, 0), std::nextafterf(middle, 1e9f)}) {
      ASSERT_EQ(FloatToHalf(magnitude), SlowToHalf(magnitude)) << magnitude;
      ASSERT_EQ(FloatToHalf(-magnitude), SlowToHalf(-magnitude)) << -magnitude;
    }
  }
}

TEST(Half, RoundsAnyFloatAsTheSlowSearchDoes) {
  SeededRng rng(1);
  for (int i = 0; i < 200000; ++i) {
    const float value = FloatOf(static_cast<uint32_t>(rng.Next()));
    if (std::isnan(value)) continue;
    ASSERT_EQ(FloatToHalf(value), SlowToHalf(value)) << value;
  }
}

TEST(BFloat16, IsTheUpperHalfOfAFloat) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const float value = BFloat16ToFloat(static_cast<uint16_t>(i));
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    ASSERT_EQ(bits, i << 16);
  }
}

TEST(DTypes, HaveTheBlocksOfTheirFormats) {
  EXPECT_EQ(RowBytes(DType::kF32, 33), 132);
  EXPECT_EQ(RowBytes(DType::kI32, 33), 132);
  EXPECT_EQ(RowBytes(DType::kF16, 33), 66);
  EXPECT_EQ(RowBytes(DType::kBF16, 33), 66);
  EXPECT_EQ(RowBytes(DType::kQ8_0, 64), 2 * (2 + 32));
  EXPECT_EQ(RowBytes(DType::kQ4_0, 64), 2 * (2 + 16));
  EXPECT_EQ(RowBytes(DType::kQ4_1, 64), 2 * (2 + 2 + 16));
}

TEST(DTypes, HaveNamesOfTheirOwn) {
  std::set<std::string> names;
  for (const DType dtype : kAll) names.insert(std::string(DTypeName(dtype)));
  EXPECT_EQ(names.size(), std::size(kAll));
  EXPECT_EQ(names.count("unknown"), 0u);
}

}  // namespace
}  // namespace baton::device
