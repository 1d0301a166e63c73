// Linear layers over packed weights: what the numerics promise, whatever the tile, path and ISA.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "device/kernels/packed_weight.h"
#include "tests/device/kernels/kernel_test_data.h"

namespace baton::device::kernels {
namespace {

constexpr int64_t kMaxRows = 35;  // more than two tiles of any ISA

struct Shape {
  DType dtype;
  int64_t in_cols, out_cols;
};

struct Problem {
  Shape shape;
  std::unique_ptr<PackedWeight> weight, other;
  std::vector<float> x;
  std::vector<float> bias;

  explicit Problem(const Shape& s) : shape(s) {
    ThreadTeam team(1);
    HostArena arena;
    const auto pack = [&](uint64_t seed) {
      const std::vector<uint8_t> bytes = RandomStored(seed, s.dtype, s.out_cols, s.in_cols);
      return std::move(
          PackedWeight::Pack({s.dtype, s.out_cols, s.in_cols, bytes.data()}, team, arena).value());
    };
    weight = pack(1);
    other = pack(2);
    x = RandomFloats(3, kMaxRows * s.in_cols);
    bias = RandomFloats(4, s.out_cols);
  }
};

// Rows [first, first + count) of the problem as one table reads them.
struct Rows {
  std::vector<uint8_t> tiles;
  Activations activations;

  Rows(const KernelTable& table, const Problem& p, int64_t first, int64_t count)
      : tiles(static_cast<size_t>(count * (p.shape.in_cols / 32) * kGroupRowBytes) + 4),
        activations{tiles.data(), p.x.data() + first * p.shape.in_cols, p.shape.in_cols,
                    p.shape.in_cols, count} {
    if (!IsQuantised(p.weight->view().form)) return;
    for (int64_t r = 0; r < count; ++r) {
      const int64_t tile = r / table.tile_rows * table.tile_rows;
      table.quantize(p.x.data() + (first + r) * p.shape.in_cols, p.shape.in_cols,
                     static_cast<int32_t>(r - tile),
                     static_cast<int32_t>(std::min<int64_t>(table.tile_rows, count - tile)),
                     tiles.data() + tile * (p.shape.in_cols / 32) * kGroupRowBytes);
    }
  }
};

// What the activations are after quantisation to int8 per group of 32.
double Rounded(const Problem& p, int64_t row, int64_t k) {
  const float* x = p.x.data() + row * p.shape.in_cols;
  if (!IsQuantised(p.weight->view().form)) return x[k];
  float largest = 0;
  for (int64_t i = k / 32 * 32; i < k / 32 * 32 + 32; ++i)
    largest = std::max(largest, std::fabs(x[i]));
  return std::nearbyint(x[k] * (127.0f / largest)) * double{largest / 127.0f};
}

std::vector<uint8_t> PanelMemory(int64_t cols) {
  return std::vector<uint8_t>(2 * cols / 32 * 512 + 64);
}

std::vector<float> Linear(const KernelTable& table, const Problem& p, int64_t first, int64_t rows,
                          bool panels, bool bias, bool accumulate, bool gated) {
  std::vector<float> out(rows * p.shape.out_cols, 0.5f);
  std::vector<uint8_t> memory = PanelMemory(p.shape.in_cols);
  uint8_t* scratch = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  const Output output{out.data(), p.shape.out_cols, p.shape.out_cols,
                      bias ? p.bias.data() : nullptr, accumulate};
  const PackedView& w = p.weight->view();
  const Rows in(table, p, first, rows);
  if (gated) {
    table.gated(w, p.other->view(), 0, w.strips, in.activations, output, panels, scratch);
  } else {
    table.linear(w, 0, w.strips, in.activations, output, panels, scratch);
  }
  return out;
}

class LinearKernel : public testing::TestWithParam<Shape> {};

// Against double precision over the same quantised values.
TEST_P(LinearKernel, IsTheProductOfTheQuantisedOperands) {
  const Problem p(GetParam());
  const std::vector<float> out =
      Linear(*AllTables().front(), p, 0, kMaxRows, true, true, true, false);
  std::vector<float> row(p.shape.in_cols);
  for (int64_t c = 0; c < p.shape.out_cols; ++c) {
    p.weight->DequantizeRow(c, row.data());
    for (int64_t r = 0; r < kMaxRows; ++r) {
      double y = p.bias[c], magnitude = 1;
      for (int64_t k = 0; k < p.shape.in_cols; ++k) {
        const double x = Rounded(p, r, k);
        y += x * row[k];
        magnitude += std::fabs(x * row[k]);
      }
      ASSERT_NEAR(out[r * p.shape.out_cols + c], 0.5 + y, 2e-6 * magnitude) << r << " " << c;
    }
  }
}

TEST_P(LinearKernel, BitsDependNeitherOnTheBatchNorOnTheIsaNorOnThePath) {
  const Problem p(GetParam());
  const KernelTable& scalar = *AllTables().back();
  for (const bool gated : {false, true}) {
    const std::vector<float> expected = Linear(scalar, p, 0, kMaxRows, false, true, true, gated);
    for (const KernelTable* table : AllTables()) {
      for (const bool panels : {false, true}) {
        for (int64_t rows = 1; rows <= kMaxRows; ++rows) {
          const int64_t first = kMaxRows - rows;
          const std::vector<float> out = Linear(*table, p, first, rows, panels, true, true, gated);
          ASSERT_TRUE(SameBits(out, {expected.begin() + first * p.shape.out_cols, expected.end()}))
              << table->isa << ", " << rows << " rows, panels " << panels << ", gated " << gated;
        }
      }
    }
  }
}

TEST_P(LinearKernel, GatedIsSiluOfGateTimesUp) {
  const Problem p(GetParam());
  const KernelTable& table = *AllTables().front();
  const std::vector<float> gate = Linear(table, p, 0, 3, true, false, false, false);
  Problem swapped(GetParam());
  std::swap(swapped.weight, swapped.other);
  const std::vector<float> up = Linear(table, swapped, 0, 3, true, false, false, false);
  std::vector<float> expected(gate.size());
  table.silu_times(gate.data(), up.data(), static_cast<int64_t>(gate.size()), expected.data());
  EXPECT_TRUE(SameBits(Linear(table, p, 0, 3, true, false, false, true), expected));
}

INSTANTIATE_TEST_SUITE_P(Shapes, LinearKernel,
                         testing::Values(Shape{DType::kQ4_1, 96, 50}, Shape{DType::kQ4_0, 160, 33},
                                         Shape{DType::kQ8_0, 64, 17}, Shape{DType::kQ4_1, 576, 16},
                                         Shape{DType::kF32, 37, 49}, Shape{DType::kF16, 65, 16},
                                         Shape{DType::kBF16, 1, 1}),
                         [](const testing::TestParamInfo<Shape>& info) {
                           return std::string(DTypeName(info.param.dtype)) + "_" +
                                  std::to_string(info.param.in_cols) + "x" +
                                  std::to_string(info.param.out_cols);
                         });

}  // namespace
}  // namespace baton::device::kernels
