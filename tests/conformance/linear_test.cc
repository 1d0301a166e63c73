// Linear and gated linear layers: every weight type, odd sizes.
#include <algorithm>

#include "tests/conformance/chips.h"
#include "tests/fakes/gguf_writer.h"

namespace baton::device {
namespace {

constexpr DType kAll[] = {DType::kF32,  DType::kF16,  DType::kBF16,
                          DType::kQ8_0, DType::kQ4_0, DType::kQ4_1};

struct Case {
  DType dtype;
  int64_t n, cols, rows;
  bool norm, bias, accumulate;
  int64_t padding;  // of the rows of input and output
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const DType dtype : kAll) {
    cases.push_back({dtype, 1, 64, 17, false, false, false, 0});
    cases.push_back({dtype, 3, 576, 33, true, false, false, 0});
    cases.push_back({dtype, 17, 160, 48, true, true, true, 5});
    cases.push_back({dtype, 200, 96, 80, false, true, false, 3});
    if (BlockElements(dtype) == 1) {
      for (const int64_t cols : {24, 40, 100}) {
        cases.push_back({dtype, 5, cols, 19, true, false, true, 1});
      }
    }
  }
  return cases;
}

std::vector<float> RunLinear(Device& device, const Case& c, int64_t first_row, int64_t row_count) {
  RandomValues random(c.cols * 7 + c.rows);
  const std::vector<float> in = random.Many(c.n * (c.cols + c.padding));
  const std::vector<float> gain = random.Many(c.cols), bias = random.Many(c.rows);
  std::vector<float> out = random.Many(c.n * (c.rows + c.padding));
  const RandomWeight weight(c.dtype, c.rows, c.cols, 11);
  const auto prepared = Prepared(device, weight);
  const int64_t in_stride = c.cols + c.padding, out_stride = c.rows + c.padding;
  const LinearArgs::Part part{prepared.get(),
                              c.bias ? bias.data() : nullptr,
                              {out.data() + first_row * out_stride, row_count, c.rows, out_stride},
                              c.accumulate};
  const absl::Status status =
      device.Linear({.in = {in.data() + first_row * in_stride, row_count, c.cols, in_stride},
                     .norm = {c.norm ? gain.data() : nullptr, 1e-5f},
                     .parts = {&part, 1}});
  EXPECT_TRUE(status.ok()) << status;
  std::vector<float> dense;
  for (int64_t r = first_row; r < first_row + row_count; ++r) {
    dense.insert(dense.end(), out.begin() + r * out_stride, out.begin() + r * out_stride + c.rows);
  }
  return dense;
}

class LinearConformance : public testing::TestWithParam<ChipUnderTest> {};

TEST_P(LinearConformance, StaysWithinTheBoundOfItsWeightType) {
  const auto chip = Make(GetParam());
  const auto reference = Reference();
  for (const Case& c : Cases()) {
    const std::vector<float> expected = RunLinear(*reference, c, 0, c.n);
    // int8 activations err by about 0.5 % rms (docs/numerics.md), some more where few large weights
    // dominate a short row; plain weights by float32 sums.
    const double bound = BlockElements(c.dtype) == 32 ? 0.01 : 1e-6;
    EXPECT_LE(RelativeError(RunLinear(*chip, c, 0, c.n), expected), bound)
        << DTypeName(c.dtype) << " n=" << c.n << " cols=" << c.cols << " rows=" << c.rows;
  }
}

TEST_P(LinearConformance, ARowHasTheSameBitsAloneInABatchAndOnAnyChip) {
  const auto chip = Make(GetParam());
  const auto scalar = Make({"d_chip", "scalar", 1});
  for (const Case& c : Cases()) {
    if (c.n > 50) continue;
    const std::vector<float> batch = RunLinear(*chip, c, 0, c.n);
    EXPECT_TRUE(SameBits(batch, RunLinear(*scalar, c, 0, c.n))) << DTypeName(c.dtype);
    const std::vector<float> alone = RunLinear(*chip, c, c.n - 1, 1);
    EXPECT_TRUE(SameBits(alone, {batch.end() - c.rows, batch.end()})) << DTypeName(c.dtype);
  }
}

// A weight as a quantiser makes it: values of a normal distribution, rounded to the type's grid.
// Its scales lie close together, unlike those of RandomWeight.
std::vector<float> RunEncoded(Device& device, models::GgmlType type, DType dtype) {
  constexpr int64_t kRows = 100, kCols = 576, kCount = 20;
  RandomValues random(8);
  const std::string bytes = fakes::Encode(type, random.Many(kRows * kCols, 0.04f));
  const std::vector<float> in = random.Many(kCount * kCols);
  auto weight = device.Prepare({dtype, kRows, kCols, bytes.data()});
  EXPECT_TRUE(weight.ok()) << weight.status();
  std::vector<float> out(kCount * kRows);
  const LinearArgs::Part part{weight->get(), nullptr, {out.data(), kCount, kRows, kRows}};
  const absl::Status status =
      device.Linear({.in = {in.data(), kCount, kCols, kCols}, .parts = {&part, 1}});
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

// docs/numerics.md derives 0.54 % for inputs of a normal distribution, whatever the weights.
TEST_P(LinearConformance, QuantisedWeightsErrAsMuchAsTheirActivationsDo) {
  const auto chip = Make(GetParam());
  const auto reference = Reference();
  for (const auto& [type, dtype] : {std::pair{models::GgmlType::kQ8_0, DType::kQ8_0},
                                    std::pair{models::GgmlType::kQ4_0, DType::kQ4_0},
                                    std::pair{models::GgmlType::kQ4_1, DType::kQ4_1}}) {
    const double error =
        RelativeError(RunEncoded(*chip, type, dtype), RunEncoded(*reference, type, dtype));
    EXPECT_LE(error, 0.0060) << DTypeName(dtype);
  }
}

// One step of decode with 17 sequences against each of them alone; prefill in steps of any size.
TEST_P(LinearConformance, RowsHaveTheSameBitsInStepsOf1Or7Or17Or64Or512) {
  const auto chip = Make(GetParam());
  const auto best = Make({"d_chip", AvailableIsaLevels().front(), 1});
  for (const DType dtype : kAll) {
    const Case c{dtype, 512, 96, 49, true, true, true, 1};
    const std::vector<float> expected = RunLinear(*best, c, 0, c.n);
    for (const int64_t step : {1, 7, 17, 64, 512}) {
      // Of the steps, the first, one in the middle and the last, which may be shorter.
      for (const int64_t first : {int64_t{0}, 256 / step * step, (c.n - 1) / step * step}) {
        const int64_t count = std::min(step, c.n - first);
        EXPECT_TRUE(SameBits(
            RunLinear(*chip, c, first, count),
            {expected.begin() + first * c.rows, expected.begin() + (first + count) * c.rows}))
            << DTypeName(dtype) << " rows " << first << " +" << count;
      }
    }
  }
}

std::vector<float> RunGated(Device& device, DType gate_type, DType up_type, int64_t n,
                            Activation activation) {
  constexpr int64_t kCols = 96, kRows = 50;
  RandomValues random(3);
  const std::vector<float> in = random.Many(n * kCols), gain = random.Many(kCols);
  const RandomWeight gate(gate_type, kRows, kCols, 21), up(up_type, kRows, kCols, 22);
  const auto prepared_gate = Prepared(device, gate), prepared_up = Prepared(device, up);
  std::vector<float> out(static_cast<size_t>(n * kRows));
  const absl::Status status = device.GatedLinear({.in = {in.data(), n, kCols, kCols},
                                                  .norm = {gain.data(), 1e-6f},
                                                  .gate = prepared_gate.get(),
                                                  .up = prepared_up.get(),
                                                  .activation = activation,
                                                  .out = {out.data(), n, kRows, kRows}});
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

TEST_P(LinearConformance, GatedLayersMatchAlsoWithTwoWeightTypes) {
  const auto chip = Make(GetParam());
  const auto reference = Reference();
  const auto scalar = Make({"p_chip", "scalar", 1});
  for (const DType gate : kAll) {
    for (const DType up : {gate, DType::kQ8_0, DType::kF16}) {
      for (const auto& [n, activation] : {std::pair{1, Activation::kSilu},
                                          {9, Activation::kSilu},
                                          {40, Activation::kSilu},
                                          {9, Activation::kGeluTanh},
                                          {40, Activation::kGeluTanh}}) {
        const std::vector<float> got = RunGated(*chip, gate, up, n, activation);
        const std::vector<float> expected = RunGated(*reference, gate, up, n, activation);
        const bool quantised = BlockElements(gate) == 32 || BlockElements(up) == 32;
        EXPECT_LE(RelativeError(got, expected), quantised ? 0.03 : 1e-5)
            << DTypeName(gate) << " " << DTypeName(up) << " n=" << n;
        EXPECT_TRUE(SameBits(got, RunGated(*scalar, gate, up, n, activation)))
            << DTypeName(gate) << " " << DTypeName(up) << " n=" << n;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Chips, LinearConformance, testing::ValuesIn(AllChips()), ChipName);

}  // namespace
}  // namespace baton::device
