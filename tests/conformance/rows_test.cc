// Ops that treat rows one by one: embedding, norm, rotation, gathering.
#include "tests/conformance/chips.h"

namespace baton::device {
namespace {

class RowsConformance : public testing::TestWithParam<ChipUnderTest> {};

TEST_P(RowsConformance, EmbeddingGivesTheStoredValues) {
  const auto chip = Make(GetParam());
  const auto reference = Reference();
  const std::vector<int32_t> ids = {0, 16, 32, 5, 5, 31, 1, 2, 3, 4};
  for (const DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1}) {
    const RandomWeight table(dtype, 33, 64, 5);
    std::vector<float> got(ids.size() * 64), expected(ids.size() * 64);
    for (auto& [device, out] : {std::pair<Device*, std::vector<float>*>{chip.get(), &got},
                                {reference.get(), &expected}}) {
      const auto prepared = Prepared(*device, table);
      ASSERT_TRUE(device->Embed({prepared.get(), ids, {out->data(), 10, 64, 64}}).ok());
    }
    EXPECT_TRUE(SameBits(got, expected)) << DTypeName(dtype);
  }
}

TEST_P(RowsConformance, EmbeddingsMayBeScaled) {
  const auto chip = Make(GetParam());
  const RandomWeight table(DType::kF32, 9, 24, 5);
  const auto prepared = Prepared(*chip, table);
  const std::vector<int32_t> ids = {8, 0};
  std::vector<float> plain(48), scaled(48);
  ASSERT_TRUE(chip->Embed({prepared.get(), ids, {plain.data(), 2, 24, 24}}).ok());
  ASSERT_TRUE(chip->Embed({prepared.get(), ids, {scaled.data(), 2, 24, 24}, 2.5f}).ok());
  for (float& value : plain) value *= 2.5f;
  EXPECT_TRUE(SameBits(scaled, plain));
}

TEST_P(RowsConformance, ANormMayBeAddedToWhatIsThere) {
  const auto chip = Make(GetParam());
  for (const int64_t cols : {7, 33, 576}) {
    RandomValues random(cols);
    std::vector<float> in = random.Many(20 * cols), gain = random.Many(cols);
    std::vector<float> normed(in.size()), sum = random.Many(20 * cols);
    std::vector<float> expected = sum;
    const MatrixView m{in.data(), 20, cols, cols};
    const Norm norm{gain.data(), 1e-5f};
    ASSERT_TRUE(chip->RmsNorm({m, norm, {normed.data(), 20, cols, cols}}).ok());
    ASSERT_TRUE(chip->RmsNorm({m, norm, {sum.data(), 20, cols, cols}, true}).ok());
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += normed[i];
    EXPECT_TRUE(SameBits(sum, expected)) << cols;
  }
}

TEST_P(RowsConformance, NormOfOddWidthsMatchesAndMayBeInPlace) {
  const auto chip = Make(GetParam());
  const auto reference = Reference();
  const auto scalar = Make({"d_chip", "scalar", 1});
  for (const int64_t cols : {1, 7, 16, 33, 576}) {
    RandomValues random(cols);
    const std::vector<float> in = random.Many(11 * cols), gain = random.Many(cols);
    const auto run = [&](Device& device) {
      std::vector<float> values = in;
      const MatrixView m{values.data(), 11, cols, cols};
      EXPECT_TRUE(device.RmsNorm({m, {gain.data(), 1e-5f}, m}).ok());
      return values;
    };
    const std::vector<float> expected = run(*reference);
    EXPECT_LE(LargestDifference(run(*chip), expected), 1e-6 * (1 + Rms(expected) * 4)) << cols;
    EXPECT_TRUE(SameBits(run(*chip), run(*scalar))) << cols;
  }
}

TEST_P(RowsConformance, RotationOfBothStylesAndPartOfAHeadMatches) {
  const auto chip = Make(GetParam());
  const auto reference = Reference();
  const auto scalar = Make({"p_chip", "scalar", 1});
  for (const RopeStyle style : {RopeStyle::kInterleaved, RopeStyle::kHalf}) {
    for (const int32_t rotary : {2, 12, 24}) {
      RandomValues random(rotary);
      const std::vector<float> in = random.Many(13 * 72), table = random.Many(40 * rotary);
      const SequenceRows sequences[] = {{0, 5, 20}, {5, 8, 3}};
      const auto run = [&](Device& device) {
        std::vector<float> values = in;
        const absl::Status status = device.Rope({.x = {values.data(), 13, 72, 72},
                                                 .head_dim = 24,
                                                 .rotary_dim = rotary,
                                                 .style = style,
                                                 .table = {table.data(), 40, rotary, rotary},
                                                 .sequences = sequences});
        EXPECT_TRUE(status.ok()) << status;
        return values;
      };
      EXPECT_LE(LargestDifference(run(*chip), run(*reference)), 2e-6);
      EXPECT_TRUE(SameBits(run(*chip), run(*scalar)));
    }
  }
}

TEST_P(RowsConformance, GatheringCopiesRows) {
  const auto chip = Make(GetParam());
  const std::vector<float> in = {0, 1, 2, 3, 4, 5};
  std::vector<float> out(4);
  const std::vector<int32_t> rows = {2, 0};
  ASSERT_TRUE(chip->GatherRows({{in.data(), 3, 2, 2}, rows, {out.data(), 2, 2, 2}}).ok());
  EXPECT_EQ(out, (std::vector<float>{4, 5, 0, 1}));
}

INSTANTIATE_TEST_SUITE_P(Chips, RowsConformance, testing::ValuesIn(AllChips()), ChipName);

}  // namespace
}  // namespace baton::device
