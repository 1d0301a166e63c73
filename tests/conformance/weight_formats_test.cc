// Linear layers over every weight format of GGUF: near to the reference, which computes with the
// exact values, and the same bits on any chip.
#include "tests/conformance/chips.h"
#include "tests/device/format_vectors.h"

namespace baton::device {
namespace {

constexpr int64_t kRows = 8, kCols = 256, kCount = 3;

// The second halves of the vectors: in the first, scales are subnormal and bytes all the same.
std::vector<uint8_t> Weights(const FormatVector& vector) {
  std::vector<uint8_t> bytes;
  const int64_t row = RowBytes(vector.dtype, kCols);
  for (int64_t r = 0; r < kRows; ++r) {
    const auto begin = vector.blocks.begin() + (r % 2 == 0 ? 3 : 2) * row;
    bytes.insert(bytes.end(), begin, begin + row);
  }
  return bytes;
}

std::vector<float> RunWeight(Device& device, DType dtype, const std::vector<uint8_t>& weights) {
  RandomValues random(5);
  const std::vector<float> in = random.Many(kCount * kCols);
  const auto weight = device.Prepare({dtype, kRows, kCols, weights.data()});
  EXPECT_TRUE(weight.ok()) << weight.status();
  std::vector<float> out(kCount * kRows);
  const LinearArgs::Part part{weight->get(), nullptr, {out.data(), kCount, kRows, kRows}};
  const absl::Status status =
      device.Linear({.in = {in.data(), kCount, kCols, kCols}, .parts = {&part, 1}});
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

class WeightFormatConformance : public testing::TestWithParam<ChipUnderTest> {};

TEST_P(WeightFormatConformance, EveryFormatIsNearToItsExactValuesAndTheSameOnAnyChip) {
  const auto chip = Make(GetParam());
  const auto reference = Reference();
  const auto scalar = Make({"d_chip", "scalar", 1});
  for (const FormatVector& vector : ReadFormatVectors()) {
    const std::vector<uint8_t> weights = Weights(vector);
    const std::vector<float> got = RunWeight(*chip, vector.dtype, weights);
    // int8 activations, and int8 weights where they are rounded (docs/numerics.md).
    EXPECT_LE(RelativeError(got, RunWeight(*reference, vector.dtype, weights)), 0.015)
        << DTypeName(vector.dtype);
    EXPECT_TRUE(SameBits(got, RunWeight(*scalar, vector.dtype, weights)))
        << DTypeName(vector.dtype);
  }
}

INSTANTIATE_TEST_SUITE_P(Chips, WeightFormatConformance, testing::ValuesIn(AllChips()), ChipName);

}  // namespace
}  // namespace baton::device
