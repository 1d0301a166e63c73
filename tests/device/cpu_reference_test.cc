// The judge is judged by examples that can be computed by hand.
#include "device/cpu_reference/cpu_reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "device/cpu_reference/dequantize.h"

namespace baton::device {
namespace {

using testing::ElementsAre;
using testing::FloatEq;

MatrixView Matrix(std::vector<float>& values, int64_t cols) {
  return {values.data(), static_cast<int64_t>(values.size()) / cols, cols, cols};
}

void Put16(std::vector<uint8_t>& bytes, uint16_t value) {
  bytes.push_back(static_cast<uint8_t>(value));
  bytes.push_back(static_cast<uint8_t>(value >> 8));
}

class CpuReferenceTest : public testing::Test {
 protected:
  std::unique_ptr<Weight> Prepare(const std::vector<float>& values, int64_t cols) {
    auto weight = device_->Prepare(
        {DType::kF32, static_cast<int64_t>(values.size()) / cols, cols, values.data()});
    EXPECT_TRUE(weight.ok()) << weight.status();
    return *std::move(weight);
  }

  std::unique_ptr<Device> device_ = MakeCpuReference();
};

TEST(Dequantize, BlocksOfFourBitsHoldLowNibblesFirst) {
  std::vector<uint8_t> q4_0, q4_1;
  Put16(q4_0, FloatToHalf(0.5f));
  Put16(q4_1, FloatToHalf(0.5f));
  Put16(q4_1, FloatToHalf(-3.0f));
  for (int i = 0; i < 16; ++i) {
    const auto both = static_cast<uint8_t>(i | (15 - i) << 4);
    q4_0.push_back(both);
    q4_1.push_back(both);
  }
  const std::vector<float> offset = Dequantize({DType::kQ4_0, 1, 32, q4_0.data()});
  const std::vector<float> minimum = Dequantize({DType::kQ4_1, 1, 32, q4_1.data()});
  ASSERT_EQ(offset.size(), 32u);
  ASSERT_EQ(minimum.size(), 32u);
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(offset[i], 0.5f * static_cast<float>(i - 8));
    EXPECT_EQ(offset[16 + i], 0.5f * static_cast<float>(15 - i - 8));
    EXPECT_EQ(minimum[i], 0.5f * static_cast<float>(i) - 3.0f);
    EXPECT_EQ(minimum[16 + i], 0.5f * static_cast<float>(15 - i) - 3.0f);
  }
}

TEST(Dequantize, BlocksOfEightBitsAreSignedAndPlainTypesAreThemselves) {
  std::vector<uint8_t> q8_0, f16, bf16;
  Put16(q8_0, FloatToHalf(-0.25f));
  for (int i = 0; i < 32; ++i) q8_0.push_back(static_cast<uint8_t>(i * 8 - 128));
  const std::vector<float> eight = Dequantize({DType::kQ8_0, 1, 32, q8_0.data()});
  for (int i = 0; i < 32; ++i) EXPECT_EQ(eight[i], -0.25f * static_cast<float>(i * 8 - 128));
  for (const uint16_t bits : {0x3c00, 0xc000, 0x0001}) Put16(f16, bits);
  EXPECT_THAT(Dequantize({DType::kF16, 3, 1, f16.data()}), ElementsAre(1.0f, -2.0f, 0x1p-24f));
  for (const uint16_t bits : {0x3f80, 0xc000, 0x3f81}) Put16(bf16, bits);
  EXPECT_THAT(Dequantize({DType::kBF16, 3, 1, bf16.data()}),
              ElementsAre(1.0f, -2.0f, 1.0f + 0x1p-7f));
  const float plain[] = {1.5f, -0.0f, 3e38f};
  EXPECT_THAT(Dequantize({DType::kF32, 1, 3, plain}), ElementsAre(1.5f, -0.0f, 3e38f));
}

TEST_F(CpuReferenceTest, EmbedsAndGathersRows) {
  const auto table = Prepare({1, 2, 3, 4, 5, 6}, 2);
  const std::vector<int32_t> ids = {2, 0, 2};
  std::vector<float> out(6), gathered(4);
  ASSERT_TRUE(device_->Embed({table.get(), ids, Matrix(out, 2)}).ok());
  EXPECT_THAT(out, ElementsAre(5, 6, 1, 2, 5, 6));
  const std::vector<int32_t> rows = {1, 0};
  ASSERT_TRUE(device_->GatherRows({Matrix(out, 2), rows, Matrix(gathered, 2)}).ok());
  EXPECT_THAT(gathered, ElementsAre(1, 2, 5, 6));
}

TEST_F(CpuReferenceTest, NormDividesByTheRootMeanSquare) {
  std::vector<float> in = {3, 4, 0, 0}, gain = {1, 10}, out(4);  // mean square 12.5 and 0
  ASSERT_TRUE(device_->RmsNorm({Matrix(in, 2), {gain.data(), 0}, Matrix(out, 2)}).ok());
  EXPECT_FLOAT_EQ(out[0], 3.0f / std::sqrt(12.5f));
  EXPECT_FLOAT_EQ(out[1], 40.0f / std::sqrt(12.5f));
  ASSERT_TRUE(device_->RmsNorm({Matrix(in, 2), {gain.data(), 0.5f}, Matrix(out, 2)}).ok());
  EXPECT_THAT(
      out, ElementsAre(FloatEq(3 / std::sqrt(13.0f)), FloatEq(40 / std::sqrt(13.0f)), 0.0f, 0.0f));
}

TEST_F(CpuReferenceTest, LinearMultipliesByRowsOfTheWeightAddsBiasAndAccumulates) {
  const auto first = Prepare({1, 2, 3, 4, 5, 6}, 2);  // [3, 2]
  const auto second = Prepare({1, -1}, 2);
  std::vector<float> in = {10, 1, 0, 2}, bias = {100, 200, 300};
  std::vector<float> out(6), difference = {1000, 2000};
  const LinearArgs::Part parts[] = {{first.get(), bias.data(), Matrix(out, 3)},
                                    {second.get(), nullptr, Matrix(difference, 1), true}};
  ASSERT_TRUE(device_->Linear({.in = Matrix(in, 2), .parts = parts}).ok());
  EXPECT_THAT(out, ElementsAre(112, 234, 356, 104, 208, 312));
  EXPECT_THAT(difference, ElementsAre(1009, 1998));
}

TEST_F(CpuReferenceTest, ANormInALinearLayerComesBeforeTheProduct) {
  const auto weight = Prepare({1, 1}, 2);
  std::vector<float> in = {3, 4}, gain = {2, 1}, out(1);
  const LinearArgs::Part part{weight.get(), nullptr, Matrix(out, 1)};
  ASSERT_TRUE(
      device_->Linear({.in = Matrix(in, 2), .norm = {gain.data(), 0}, .parts = {&part, 1}}).ok());
  EXPECT_FLOAT_EQ(out[0], 10.0f / std::sqrt(12.5f));
}

TEST_F(CpuReferenceTest, GatedIsSiluOfGateTimesUp) {
  const auto gate = Prepare({1, 0, 0, 1}, 2), up = Prepare({0, 1, 1, 0}, 2);
  std::vector<float> in = {2, -1}, out(2);
  ASSERT_TRUE(
      device_
          ->GatedLinear(
              {.in = Matrix(in, 2), .gate = gate.get(), .up = up.get(), .out = Matrix(out, 2)})
          .ok());
  EXPECT_FLOAT_EQ(out[0], static_cast<float>(-2.0 / (1 + std::exp(-2.0))));
  EXPECT_FLOAT_EQ(out[1], static_cast<float>(-2.0 / (1 + std::exp(1.0))));
}

TEST_F(CpuReferenceTest, RopeTurnsPairsOfItsStyleByTheAngleOfThePosition) {
  // Position 0: no rotation. Position 1: both frequencies by a quarter, (a, b) -> (-b, a).
  std::vector<float> table = {1, 1, 0, 0, 0, 0, 1, 1};
  const SequenceRows rows[] = {{0, 1, 1}, {1, 1, 0}};
  const std::vector<float> input = {1, 2, 3, 4, 5, 1, 2, 3, 4, 5};  // one head of 5, 4 rotate
  const auto rotated = [&](RopeStyle style) {
    std::vector<float> x = input;
    const RopeArgs args{Matrix(x, 5), 5, 4, style, Matrix(table, 4), rows};
    EXPECT_TRUE(device_->Rope(args).ok());
    return x;
  };
  EXPECT_THAT(rotated(RopeStyle::kInterleaved), ElementsAre(-2, 1, -4, 3, 5, 1, 2, 3, 4, 5));
  EXPECT_THAT(rotated(RopeStyle::kHalf), ElementsAre(-3, -4, 1, 2, 5, 1, 2, 3, 4, 5));
}

// A cache of two KV heads of two dimensions, 3 blocks, of which a sequence of 18 tokens uses 2
// and 0.
class CpuReferenceKvTest : public CpuReferenceTest, public testing::WithParamInterface<DType> {
 protected:
  CpuReferenceKvTest() {
    kv_.geometry = {
        .layers = 1, .kv_heads = 2, .head_dim = 2, .block_tokens = 16, .dtype = GetParam()};
    memory_.resize(3 * kv_.geometry.BlockLayerBytes() / 4);
    kv_.layer_base = reinterpret_cast<uint8_t*>(memory_.data());
    kv_.blocks = 3;
  }
  float At(const uint8_t* base, int64_t index) const {
    if (GetParam() == DType::kF32) return reinterpret_cast<const float*>(base)[index];
    return HalfToFloat(reinterpret_cast<const uint16_t*>(base)[index]);
  }
  // Tokens [0, 18): key and value of token t, head h, dimension d.
  void Append() {
    std::vector<float> key, value;
    for (int t = 0; t < 18; ++t) {
      for (int i = 0; i < 4; ++i) {
        key.push_back(Key(t, i / 2, i % 2));
        value.push_back(static_cast<float>(100 * (i / 2) + 50 * (i % 2) + t));
      }
    }
    const SequenceRows rows[] = {{0, 18, 0, table_, 2}};
    ASSERT_TRUE(device_->AppendKv({Matrix(key, 4), Matrix(value, 4), kv_, rows}).ok());
  }
  static float Key(int t, int h, int d) {
    return h == 0 ? (t == 17 && d == 0 ? 1.0f : 0.0f) : static_cast<float>(d == 1 ? t : 0);
  }

  const int32_t table_[2] = {2, 0};
  std::vector<uint32_t> memory_;
  PagedKvView kv_;
};

TEST_P(CpuReferenceKvTest, KeysLieByDimensionAndValuesByToken) {
  Append();
  for (const int t : {0, 3, 15, 16, 17}) {
    const int32_t block = t < 16 ? 2 : 0, slot = t % 16;
    for (int h = 0; h < 2; ++h) {
      for (int d = 0; d < 2; ++d) {
        EXPECT_EQ(At(kv_.keys(block), (h * 2 + d) * 16 + slot), Key(t, h, d)) << t;
        EXPECT_EQ(At(kv_.values(block), (h * 16 + slot) * 2 + d),
                  static_cast<float>(100 * h + 50 * d + t))
            << t;
      }
    }
  }
  for (int64_t i = 0; i < kv_.geometry.BlockLayerBytes() / BlockBytes(GetParam()); ++i) {
    ASSERT_EQ(At(kv_.keys(1), i), 0) << "a block that is not in the table was written";
  }
}

TEST_P(CpuReferenceKvTest, AttentionIsASoftmaxOverTheRowsOwnHistory) {
  Append();
  // Rows 16 and 17; four query heads, two to a KV head.
  const SequenceRows rows[] = {{0, 2, 16, table_, 2}};
  const float ln17 = std::log(17.0f);
  const std::vector<float> row = {0, 0, 2 * ln17, 0, 0, 100, 0, -100};
  std::vector<float> query = row, out(16);
  query.insert(query.end(), row.begin(), row.end());
  ASSERT_TRUE(device_
                  ->Attention({.query = Matrix(query, 8),
                               .kv = kv_,
                               .sequences = rows,
                               .query_heads = 4,
                               .scale = 0.5f,
                               .out = Matrix(out, 8)})
                  .ok());
  // Head 0: equal weights, the mean of the values. Head 1: key 17 weighs as much as the 17 others,
  // and row 16 does not see it. Heads 2 and 3 read KV head 1, whose last or first key takes all.
  EXPECT_THAT(out, testing::Pointwise(testing::FloatNear(1e-4f),
                                      {8.0f, 58.0f, 8.0f, 58.0f, 116.0f, 166.0f, 100.0f, 150.0f,
                                       8.5f, 58.5f, 12.5f, 62.5f, 117.0f, 167.0f, 100.0f, 150.0f}));
}

INSTANTIATE_TEST_SUITE_P(Caches, CpuReferenceKvTest, testing::Values(DType::kF16, DType::kF32),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

}  // namespace
}  // namespace baton::device
