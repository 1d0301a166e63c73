// Attention over paged keys and values: accurate, blind to what it must not see, and the same bits
// for every block size, company and ISA level.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "device/device_factory.h"
#include "tests/device/kernels/kernel_test_data.h"

namespace baton::device::kernels {
namespace {

struct Shape {
  int32_t query_heads, kv_heads, head_dim;
  int64_t position;
  int32_t rows;
};

struct Arrangement {
  std::string device = "d_chip";
  std::string isa;
  int threads = 1;
  int32_t block_tokens = 16;
  DType dtype = DType::kF16;
};

int64_t KvCols(const Shape& s) { return int64_t{s.kv_heads} * s.head_dim; }
int64_t QueryCols(const Shape& s) { return int64_t{s.query_heads} * s.head_dim; }
std::vector<float> Keys(const Shape& s) {
  return RandomFloats(1, (s.position + s.rows) * KvCols(s));
}
std::vector<float> Values(const Shape& s) {
  return RandomFloats(2, (s.position + s.rows) * KvCols(s));
}
std::vector<float> Queries(const Shape& s) {
  std::vector<float> queries = RandomFloats(3, s.rows * QueryCols(s));
  for (float& q : queries) q *= 4;
  return queries;
}

// Appends all keys and values to a cache full of NaN whose blocks lie in a mixed order, then
// attends the rows [first, first + count).
std::vector<float> Attend(const Shape& shape, const Arrangement& setup, int32_t first,
                          int32_t count) {
  const auto device =
      CreateDevice({.name = setup.device, .threads = setup.threads, .isa = setup.isa}).value();
  const int64_t tokens = shape.position + shape.rows;
  const int32_t blocks = static_cast<int32_t>(tokens / setup.block_tokens + 3);
  const KvGeometry geometry{.layers = 1,
                            .kv_heads = shape.kv_heads,
                            .head_dim = shape.head_dim,
                            .block_tokens = setup.block_tokens,
                            .dtype = setup.dtype};
  const Buffer memory = device->Allocate(blocks * geometry.BlockLayerBytes()).value();
  std::memset(memory.data(), 0xff, memory.bytes());
  std::vector<int32_t> table(blocks);
  std::iota(table.begin(), table.end(), 0);
  std::reverse(table.begin(), table.end());
  const PagedKvView kv{geometry, static_cast<uint8_t*>(memory.data()), blocks};
  std::vector<float> key = Keys(shape), value = Values(shape), query = Queries(shape);
  const SequenceRows all{.row_begin = 0,
                         .row_count = static_cast<int32_t>(tokens),
                         .position = 0,
                         .block_table = table.data(),
                         .block_count = blocks};
  EXPECT_TRUE(device
                  ->AppendKv({.key = {key.data(), tokens, KvCols(shape), KvCols(shape)},
                              .value = {value.data(), tokens, KvCols(shape), KvCols(shape)},
                              .kv = kv,
                              .sequences = {&all, 1}})
                  .ok());
  std::vector<float> out(count * QueryCols(shape));
  const SequenceRows rows{.row_begin = 0,
                          .row_count = count,
                          .position = shape.position + first,
                          .block_table = table.data(),
                          .block_count = blocks};
  const absl::Status status =
      device->Attention({.query = {query.data() + first * QueryCols(shape), count, QueryCols(shape),
                                   QueryCols(shape)},
                         .kv = kv,
                         .sequences = {&rows, 1},
                         .query_heads = shape.query_heads,
                         .scale = 0.2f,
                         .out = {out.data(), count, QueryCols(shape), QueryCols(shape)}});
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

// In double precision, keys and values rounded as the cache rounds them.
std::vector<double> Expected(const Shape& s, DType dtype) {
  const std::vector<float> key = Keys(s), value = Values(s), query = Queries(s);
  const auto rounded = [&](float x) {
    if (dtype == DType::kF32) return x;
    if (dtype == DType::kF16) return HalfToFloat(FloatToHalf(x));
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return BFloat16ToFloat(static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16));
  };
  std::vector<double> out(s.rows * QueryCols(s));
  for (int32_t r = 0; r < s.rows; ++r) {
    for (int32_t h = 0; h < s.query_heads; ++h) {
      const int64_t kv = int64_t{h / (s.query_heads / s.kv_heads)} * s.head_dim;
      const float* q = query.data() + r * QueryCols(s) + int64_t{h} * s.head_dim;
      double* y = out.data() + r * QueryCols(s) + int64_t{h} * s.head_dim;
      double sum = 0;
      for (int64_t t = 0; t <= s.position + r; ++t) {
        double score = 0;
        for (int32_t d = 0; d < s.head_dim; ++d) {
          score += double{q[d]} * rounded(key[t * KvCols(s) + kv + d]);
        }
        const double weight = std::exp(0.2 * score);
        sum += weight;
        for (int32_t d = 0; d < s.head_dim; ++d) {
          y[d] += weight * rounded(value[t * KvCols(s) + kv + d]);
        }
      }
      for (int32_t d = 0; d < s.head_dim; ++d) y[d] /= sum;
    }
  }
  return out;
}

class AttendSpan : public testing::TestWithParam<Shape> {};

TEST_P(AttendSpan, IsSoftmaxAttentionBlindToUnwrittenSlots) {
  const Shape& shape = GetParam();
  for (const DType dtype : {DType::kF16, DType::kF32, DType::kBF16}) {
    const std::vector<double> expected = Expected(shape, dtype);
    const std::vector<float> out = Attend(shape, {.dtype = dtype}, 0, shape.rows);
    // Queries and weights have eight bits beside a cache of bfloat16 (docs/numerics.md).
    const double allowed = dtype == DType::kBF16 ? 0.02 : 5e-6;
    for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], expected[i], allowed) << i;
  }
}

void ExpectSameBits(const Shape& shape, DType dtype) {
  const std::vector<float> expected =
      Attend(shape, {.isa = "scalar", .dtype = dtype}, 0, shape.rows);
  for (const std::string& isa : AvailableIsaLevels()) {
    for (const int32_t block_tokens : {16, 32, 64}) {
      const Arrangement setup{.isa = isa, .block_tokens = block_tokens, .dtype = dtype};
      EXPECT_TRUE(SameBits(Attend(shape, setup, 0, shape.rows), expected))
          << isa << ", blocks of " << block_tokens;
    }
    Arrangement p_chip{.device = "p_chip", .isa = isa, .threads = 2, .dtype = dtype};
    EXPECT_TRUE(SameBits(Attend(shape, p_chip, 0, shape.rows), expected)) << isa << ", p_chip";
    Arrangement threads{.isa = isa, .threads = 3, .dtype = dtype};
    EXPECT_TRUE(SameBits(Attend(shape, threads, 0, shape.rows), expected)) << isa << ", threads";
    const std::vector<float> last = Attend(shape, threads, shape.rows - 1, 1);
    EXPECT_TRUE(SameBits(last, {expected.end() - QueryCols(shape), expected.end()}))
        << isa << ", last row alone";
  }
}

TEST_P(AttendSpan, BitsDependOnNothingButTheRow) { ExpectSameBits(GetParam(), DType::kF16); }

TEST_P(AttendSpan, BitsDependOnNothingButTheRowInBfloat16) {
  ExpectSameBits(GetParam(), DType::kBF16);
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttendSpan,
                         testing::Values(Shape{9, 3, 64, 300, 21}, Shape{1, 1, 8, 0, 1},
                                         Shape{4, 4, 20, 63, 3}, Shape{4, 2, 80, 510, 5},
                                         Shape{7, 1, 128, 1, 70}, Shape{2, 1, 37, 1100, 2},
                                         Shape{8, 2, 32, 250, 40}),
                         [](const testing::TestParamInfo<Shape>& info) {
                           const Shape& s = info.param;
                           return std::to_string(s.query_heads) + "_heads_over_" +
                                  std::to_string(s.kv_heads) + "_dim_" +
                                  std::to_string(s.head_dim) + "_at_" + std::to_string(s.position);
                         });

}  // namespace
}  // namespace baton::device::kernels
