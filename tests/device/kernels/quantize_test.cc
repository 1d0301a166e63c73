// Activations become int8 with one scale per 32 values, in the same way on every ISA level.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/device/kernels/kernel_test_data.h"

namespace baton::device::kernels {
namespace {

struct Quantised {
  std::vector<int8_t> q;
  std::vector<float> scale, scaled_sum;
  std::vector<int32_t> offset;
};

// Quantises x as row `row` of a tile of `tile_rows` rows and reads it back by the layout in
// kernel_table.h.
Quantised Quantise(const KernelTable& table, const std::vector<float>& x, int row = 0,
                   int tile_rows = 1) {
  const size_t groups = x.size() / 32;
  std::vector<uint8_t> tile(groups * kGroupRowBytes * tile_rows, 0xee);
  table.quantize(x.data(), static_cast<int64_t>(x.size()), row, tile_rows, tile.data());
  Quantised result{std::vector<int8_t>(x.size()), std::vector<float>(groups),
                   std::vector<float>(groups), std::vector<int32_t>(groups)};
  for (size_t g = 0; g < groups; ++g) {
    const uint8_t* group = tile.data() + g * kGroupRowBytes * tile_rows;
    for (int quad = 0; quad < 8; ++quad) {
      const int at = table.row_major ? row * 32 + quad * 4 : (quad * tile_rows + row) * 4;
      std::memcpy(result.q.data() + g * 32 + quad * 4, group + at, 4);
    }
    std::memcpy(&result.scale[g], group + 32 * tile_rows + 4 * row, 4);
    std::memcpy(&result.scaled_sum[g], group + 36 * tile_rows + 4 * row, 4);
    std::memcpy(&result.offset[g], group + 40 * tile_rows + 4 * row, 4);
  }
  return result;
}

TEST(Quantize, ValuesAreNearestMultiplesOfTheScale) {
  std::vector<float> x = RandomFloats(1, 32 * 50);
  for (size_t g = 0; g < 50; ++g) {  // magnitudes from 1e-10 to 1e15
    for (size_t i = 0; i < 32; ++i)
      x[g * 32 + i] *= std::pow(10.0f, static_cast<float>(g) / 2 - 10);
  }
  for (const KernelTable* table : AllTables()) {
    const Quantised result = Quantise(*table, x);
    for (size_t g = 0; g < 50; ++g) {
      float largest = 0;
      int32_t sum = 0;
      for (size_t i = g * 32; i < g * 32 + 32; ++i) {
        largest = std::max(largest, std::fabs(x[i]));
        sum += result.q[i];
        const double error = std::fabs(double{result.scale[g]} * result.q[i] - x[i]);
        EXPECT_LE(error, 0.5001 * result.scale[g]) << table->isa << " " << i;
        EXPECT_GE(result.q[i], -127);
      }
      EXPECT_EQ(result.scale[g], largest / 127.0f);
      EXPECT_EQ(result.offset[g], -8 * sum);
      EXPECT_EQ(result.scaled_sum[g], result.scale[g] * static_cast<float>(sum));
    }
  }
}

TEST(Quantize, TiesGoToTheEvenNeighbour) {
  std::vector<float> x(32);
  x[0] = 127.0f;  // scale 1
  for (int i = 1; i < 32; ++i) x[i] = static_cast<float>(i) - 15.5f;
  for (const KernelTable* table : AllTables()) {
    const Quantised result = Quantise(*table, x);
    EXPECT_EQ(result.scale[0], 1.0f);
    for (int i = 1; i < 32; ++i) {
      EXPECT_EQ(static_cast<float>(result.q[i]), std::nearbyint(x[i])) << table->isa << " " << x[i];
    }
  }
}

TEST(Quantize, NothingBecomesNothing) {
  std::vector<float> x(64, 0.0f);
  x[3] = -0.0f;
  for (int i = 32; i < 64; ++i) x[i] = std::numeric_limits<float>::denorm_min();
  for (const KernelTable* table : AllTables()) {
    const Quantised result = Quantise(*table, x);
    EXPECT_EQ(result.scale, std::vector<float>(2, 0.0f)) << table->isa;
    EXPECT_EQ(result.q, std::vector<int8_t>(64, 0)) << table->isa;
    EXPECT_EQ(result.offset, std::vector<int32_t>(2, 0)) << table->isa;
  }
}

TEST(Quantize, BitsAreTheSameOnEveryIsaInAnyRowOfATile) {
  const std::vector<float> x = RandomFloats(2, 32 * 64);
  const Quantised scalar = Quantise(*AllTables().back(), x);
  for (const KernelTable* table : AllTables()) {
    for (const int tile_rows : {1, 3, 6, 16}) {
      const Quantised result = Quantise(*table, x, tile_rows - 1, tile_rows);
      EXPECT_EQ(result.q, scalar.q) << table->isa;
      EXPECT_TRUE(SameBits(result.scale, scalar.scale)) << table->isa;
      EXPECT_TRUE(SameBits(result.scaled_sum, scalar.scaled_sum)) << table->isa;
      EXPECT_EQ(result.offset, scalar.offset) << table->isa;
    }
  }
}

}  // namespace
}  // namespace baton::device::kernels
