// Packing loses nothing: each row of a packed weight is the row that the file stores.
#include "device/kernels/packed_weight.h"

#include <gtest/gtest.h>

#include "tests/device/kernels/kernel_test_data.h"

namespace baton::device::kernels {
namespace {

// By the definition of each format (dtype.h), independent of any packing.
std::vector<float> StoredRow(const StoredTensor& stored, int64_t row) {
  const uint8_t* at =
      static_cast<const uint8_t*>(stored.data) + row * RowBytes(stored.dtype, stored.cols);
  std::vector<float> values(static_cast<size_t>(stored.cols));
  const int64_t block = BlockBytes(stored.dtype);
  for (int64_t k = 0; k < stored.cols; ++k) {
    const uint8_t* b = at + k / BlockElements(stored.dtype) * block;
    const int i = static_cast<int>(k % BlockElements(stored.dtype));
    uint16_t half[2];
    float single;
    std::memcpy(half, b, sizeof(half) <= static_cast<size_t>(block) ? 4 : 2);
    std::memcpy(&single, half, 4);
    const float d = HalfToFloat(half[0]);
    switch (stored.dtype) {
      case DType::kF32:
        values[k] = single;
        break;
      case DType::kF16:
        values[k] = d;
        break;
      case DType::kBF16:
        values[k] = BFloat16ToFloat(half[0]);
        break;
      case DType::kQ8_0:
        values[k] = d * static_cast<float>(static_cast<int8_t>(b[2 + i]));
        break;
      case DType::kQ4_0:
        values[k] = d * static_cast<float>((i < 16 ? b[2 + i] & 15 : b[2 + i - 16] >> 4) - 8);
        break;
      case DType::kQ4_1:
        values[k] = d * static_cast<float>(i < 16 ? b[4 + i] & 15 : b[4 + i - 16] >> 4) +
                    HalfToFloat(half[1]);
        break;
      case DType::kI32:
        ADD_FAILURE() << "not a weight type";
    }
  }
  return values;
}

struct Shape {
  DType dtype;
  int64_t rows, cols;
};

class PackedWeightTest : public testing::TestWithParam<Shape> {};

TEST_P(PackedWeightTest, RowsAreThoseOfTheFileForAnyTeam) {
  const Shape& shape = GetParam();
  const std::vector<uint8_t> bytes = RandomStored(1, shape.dtype, shape.rows, shape.cols);
  const StoredTensor stored{shape.dtype, shape.rows, shape.cols, bytes.data()};
  for (const int threads : {1, 3}) {
    ThreadTeam team(threads);
    HostArena arena;
    const auto packed = PackedWeight::Pack(stored, team, arena);
    ASSERT_TRUE(packed.ok()) << packed.status();
    EXPECT_EQ((*packed)->rows(), shape.rows);
    EXPECT_EQ((*packed)->cols(), shape.cols);
    std::vector<float> row(static_cast<size_t>(shape.cols));
    for (int64_t r = 0; r < shape.rows; ++r) {
      (*packed)->DequantizeRow(r, row.data());
      ASSERT_TRUE(SameBits(row, StoredRow(stored, r))) << "row " << r;
    }
  }
}

TEST_P(PackedWeightTest, TakesNoMoreMemoryThanDocumented) {
  const Shape& shape = GetParam();
  const std::vector<uint8_t> bytes = RandomStored(1, shape.dtype, shape.rows, shape.cols);
  ThreadTeam team(1);
  HostArena arena;
  const auto packed =
      PackedWeight::Pack({shape.dtype, shape.rows, shape.cols, bytes.data()}, team, arena);
  ASSERT_TRUE(packed.ok()) << packed.status();
  const int64_t strips = (shape.rows + 15) / 16;
  // The stored bytes of 16 rows: packing pads rows, and adds nothing else.
  EXPECT_EQ((*packed)->packed_bytes(), strips * 16 * RowBytes(shape.dtype, shape.cols));
}

INSTANTIATE_TEST_SUITE_P(Shapes, PackedWeightTest,
                         testing::Values(Shape{DType::kQ4_1, 16, 32}, Shape{DType::kQ4_1, 33, 96},
                                         Shape{DType::kQ4_0, 1, 64}, Shape{DType::kQ4_0, 47, 32},
                                         Shape{DType::kQ8_0, 17, 64}, Shape{DType::kQ8_0, 15, 96},
                                         Shape{DType::kF32, 1, 1}, Shape{DType::kF32, 35, 7},
                                         Shape{DType::kF16, 17, 33}, Shape{DType::kBF16, 31, 5}),
                         [](const testing::TestParamInfo<Shape>& info) {
                           return std::string(DTypeName(info.param.dtype)) + "_" +
                                  std::to_string(info.param.rows) + "x" +
                                  std::to_string(info.param.cols);
                         });

}  // namespace
}  // namespace baton::device::kernels
