// Mixtures of experts and linear layers per head: odd numbers and sizes.
#include <algorithm>
#include <numeric>

#include "tests/conformance/chips.h"

namespace baton::device {
namespace {

struct Mixture {
  DType dtype, down_dtype;
  int32_t experts, per_row;
  int64_t n, cols, intermediate;
  bool norm;
  ExpertActivation activation;  // the clamped one goes with biases
};

std::vector<Mixture> Mixtures() {
  constexpr ExpertActivation kSilu = ExpertActivation::kSilu;
  constexpr ExpertActivation kClamped = ExpertActivation::kClampedSwiglu;
  return {{DType::kF32, DType::kF32, 3, 1, 1, 40, 17, false, kSilu},
          {DType::kBF16, DType::kBF16, 17, 4, 33, 72, 24, true, kSilu},
          {DType::kF16, DType::kF16, 5, 3, 200, 64, 40, true, kClamped},
          {DType::kQ8_0, DType::kQ8_0, 8, 2, 60, 96, 64, true, kSilu},
          {DType::kQ4_0, DType::kQ8_0, 7, 2, 19, 64, 96, true, kSilu},
          {DType::kQ4_1, DType::kBF16, 4, 4, 9, 160, 50, false, kSilu},
          {DType::kBF16, DType::kQ4_0, 6, 3, 41, 64, 32, true, kClamped}};
}

// The random data of a mixture: every row chooses ascending experts, some experts get no row.
class MixtureData {
 public:
  explicit MixtureData(const Mixture& m) : m_(m) {
    RandomValues random(m.cols * 131 + m.experts);
    in_ = random.Many(m.n * m.cols);
    gain_ = random.Many(m.cols);
    residual_ = random.Many(m.n * m.cols);
    for (int64_t r = 0; r < m.n; ++r) {
      std::vector<int32_t> all(m.experts);
      std::iota(all.begin(), all.end(), 0);
      for (int32_t i = 0; i < m.per_row; ++i) {
        std::swap(all[i], all[i + random.Below(m.experts - i)]);
      }
      std::sort(all.begin(), all.begin() + m.per_row);
      chosen_.insert(chosen_.end(), all.begin(), all.begin() + m.per_row);
    }
    weights_ = random.Many(m.n * m.per_row);
    for (int32_t e = 0; e < m.experts; ++e) {
      gates_.emplace_back(m.dtype, m.intermediate, m.cols, 100 + e);
      ups_.emplace_back(e % 2 == 0 ? m.dtype : m.down_dtype, m.intermediate, m.cols, 200 + e);
      downs_.emplace_back(m.down_dtype, m.cols, m.intermediate, 300 + e);
      biases_.push_back(random.Many(2 * m.intermediate + m.cols));
    }
  }

  // Rows [begin, begin + count) on a device, with the residual that they are added to.
  std::vector<float> Run(Device& device, int64_t begin, int64_t count) const {
    std::vector<std::unique_ptr<Weight>> kept;
    std::vector<Expert> experts(m_.experts);
    const bool bias = m_.activation == ExpertActivation::kClampedSwiglu;
    for (int32_t e = 0; e < m_.experts; ++e) {
      for (const RandomWeight* w : {&gates_[e], &ups_[e], &downs_[e]}) {
        kept.push_back(Prepared(device, *w));
      }
      const float* b = bias ? biases_[e].data() : nullptr;
      experts[e] = {.gate = kept[3 * e].get(),
                    .up = kept[3 * e + 1].get(),
                    .down = kept[3 * e + 2].get(),
                    .gate_bias = b,
                    .up_bias = bias ? b + m_.intermediate : nullptr,
                    .down_bias = bias ? b + 2 * m_.intermediate : nullptr};
    }
    std::vector<float> out(residual_.begin() + begin * m_.cols,
                           residual_.begin() + (begin + count) * m_.cols);
    const size_t first = begin * m_.per_row, pairs = count * m_.per_row;
    const absl::Status status =
        device.Experts({.in = {in_.data() + begin * m_.cols, count, m_.cols, m_.cols},
                        .norm = {m_.norm ? gain_.data() : nullptr, 1e-5f},
                        .experts = experts,
                        .experts_per_row = m_.per_row,
                        .chosen = {chosen_.data() + first, pairs},
                        .weights = {weights_.data() + first, pairs},
                        .activation = m_.activation,
                        .limit = 1.5f,
                        .alpha = 1.702f,
                        .out = {out.data(), count, m_.cols, m_.cols}});
    EXPECT_TRUE(status.ok()) << status;
    return out;
  }

 private:
  const Mixture m_;
  std::vector<float> in_, gain_, residual_, weights_;
  std::vector<int32_t> chosen_;
  std::vector<RandomWeight> gates_, ups_, downs_;
  std::vector<std::vector<float>> biases_;
};

class ExpertsConformance : public testing::TestWithParam<ChipUnderTest> {};

TEST_P(ExpertsConformance, StayWithinTheBoundOfTheirWeightTypes) {
  const auto chip = Make(GetParam());
  const auto reference = Reference();
  for (const Mixture& m : Mixtures()) {
    const MixtureData data(m);
    const bool plain = BlockElements(m.dtype) == 1 && BlockElements(m.down_dtype) == 1;
    EXPECT_LE(RelativeError(data.Run(*chip, 0, m.n), data.Run(*reference, 0, m.n)),
              plain ? 2e-6 : 0.03)
        << DTypeName(m.dtype) << " experts " << m.experts;
  }
}

TEST_P(ExpertsConformance, ARowHasTheSameBitsAloneInAnyBatchAndOnAnyChip) {
  const auto chip = Make(GetParam());
  const auto scalar = Make({"d_chip", "scalar", 1});
  for (const Mixture& m : Mixtures()) {
    const MixtureData data(m);
    const std::vector<float> all = data.Run(*scalar, 0, m.n);
    EXPECT_TRUE(SameBits(data.Run(*chip, 0, m.n), all)) << DTypeName(m.dtype);
    for (const int64_t count : {1, 7, 40}) {
      const int64_t begin = std::max<int64_t>(m.n - count, 0);
      EXPECT_TRUE(
          SameBits(data.Run(*chip, begin, m.n - begin), {all.begin() + begin * m.cols, all.end()}))
          << DTypeName(m.dtype) << " last " << count;
    }
  }
}

struct Heads {
  DType dtype;
  int64_t heads, n, cols, rows, in_gap, out_gap;
};

std::vector<float> RunHeads(Device& device, const Heads& h, int64_t begin, int64_t count) {
  RandomValues random(h.heads * 17 + h.cols);
  const int64_t in_step = h.cols + h.in_gap, out_step = h.rows + h.out_gap;
  const int64_t in_cols = h.heads * in_step, out_cols = h.heads * out_step;
  const std::vector<float> in = random.Many(h.n * in_cols);
  std::vector<float> out = random.Many(h.n * out_cols);
  std::vector<std::unique_ptr<Weight>> kept;
  std::vector<const Weight*> weights;
  for (int64_t i = 0; i < h.heads; ++i) {
    kept.push_back(Prepared(device, RandomWeight(h.dtype, h.rows, h.cols, 40 + i)));
    weights.push_back(kept.back().get());
  }
  const absl::Status status =
      device.HeadLinear({.in = {in.data() + begin * in_cols, count, in_cols, in_cols},
                         .in_step = in_step,
                         .weights = weights,
                         .out = {out.data() + begin * out_cols, count, out_cols, out_cols},
                         .out_step = out_step});
  EXPECT_TRUE(status.ok()) << status;
  return {out.begin() + begin * out_cols, out.begin() + (begin + count) * out_cols};
}

TEST_P(ExpertsConformance, LinearLayersPerHeadMatchAndKeepTheirBits) {
  const auto chip = Make(GetParam());
  const auto reference = Reference();
  const auto scalar = Make({"d_chip", "scalar", 1});
  for (const Heads& h :
       {Heads{DType::kF32, 1, 1, 24, 40, 0, 0}, Heads{DType::kBF16, 5, 19, 48, 33, 7, 2},
        Heads{DType::kF16, 3, 70, 20, 64, 1, 0}, Heads{DType::kQ8_0, 4, 21, 64, 50, 3, 5}}) {
    const std::vector<float> expected = RunHeads(*reference, h, 0, h.n);
    const std::vector<float> got = RunHeads(*chip, h, 0, h.n);
    EXPECT_LE(RelativeError(got, expected), BlockElements(h.dtype) == 32 ? 0.01 : 1e-6);
    EXPECT_TRUE(SameBits(got, RunHeads(*scalar, h, 0, h.n))) << DTypeName(h.dtype);
    const std::vector<float> last = RunHeads(*chip, h, h.n - 1, 1);
    EXPECT_TRUE(SameBits(last, {got.end() - last.size(), got.end()})) << DTypeName(h.dtype);
  }
}

TEST_P(ExpertsConformance, HeadsAreCopiedAndNothingElse) {
  const auto chip = Make(GetParam());
  const std::vector<float> in = RandomValues(5).Many(40 * 21);
  std::vector<float> out(40 * 30, -1.0f);
  ASSERT_TRUE(chip->CopyHeads({.in = {in.data(), 40, 21, 21},
                               .in_step = 7,
                               .out = {out.data(), 40, 30, 30},
                               .out_step = 10,
                               .heads = 3,
                               .cols = 4})
                  .ok());
  for (int64_t r = 0; r < 40; ++r) {
    for (int64_t c = 0; c < 30; ++c) {
      EXPECT_EQ(out[r * 30 + c], c % 10 < 4 ? in[r * 21 + c / 10 * 7 + c % 10] : -1.0f);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Chips, ExpertsConformance, testing::ValuesIn(AllChips()), ChipName);

TEST(ExpertsChecks, NameWhatIsWrong) {
  const auto device = Reference();
  const auto weight = Prepared(*device, RandomWeight(DType::kF32, 8, 8, 1));
  const Expert expert{.gate = weight.get(), .up = weight.get(), .down = weight.get()};
  std::vector<float> x(16), out(16);
  const std::vector<float> weights = {1.0f, 1.0f};
  const auto run = [&](std::vector<int32_t> chosen, int32_t per_row) {
    return std::string(device
                           ->Experts({.in = {x.data(), 2, 8, 8},
                                      .experts = {&expert, 1},
                                      .experts_per_row = per_row,
                                      .chosen = chosen,
                                      .weights = weights,
                                      .out = {out.data(), 2, 8, 8}})
                           .message());
  };
  EXPECT_EQ(run({0, 0}, 1), "");
  EXPECT_EQ(run({0, 1}, 1), "experts.chosen: 1 is not one of 1");
  EXPECT_EQ(run({0, 0}, 2),
            "experts: 2 chosen and 2 weights, needs 2 (at least 1) for each of 2 rows");
}

TEST(HeadChecks, HeadsLieWithinTheirMatrix) {
  const auto device = Reference();
  const auto weight = Prepared(*device, RandomWeight(DType::kF32, 5, 8, 1));
  const Weight* weights[] = {weight.get(), weight.get()};
  std::vector<float> x(16), y(16);
  const auto linear = [&](int64_t in_step, int64_t out_step) {
    return std::string(device
                           ->HeadLinear({.in = {x.data(), 1, 16, 16},
                                         .in_step = in_step,
                                         .weights = weights,
                                         .out = {y.data(), 1, 10, 10},
                                         .out_step = out_step})
                           .message());
  };
  EXPECT_EQ(linear(8, 5), "");
  EXPECT_EQ(linear(7, 5), "head_linear.in has 16 columns, 2 heads of 8 every 7 do not fit");
  EXPECT_EQ(linear(8, 6), "head_linear.out has 10 columns, 2 heads of 5 every 6 do not fit");
  const auto copy = [&](int32_t heads, int64_t cols) {
    return std::string(device
                           ->CopyHeads({.in = {x.data(), 1, 16, 16},
                                        .in_step = 5,
                                        .out = {y.data(), 1, 10, 10},
                                        .out_step = 4,
                                        .heads = heads,
                                        .cols = cols})
                           .message());
  };
  EXPECT_EQ(copy(2, 4), "");
  EXPECT_EQ(copy(3, 4), "copy_heads.out has 10 columns, 3 heads of 4 every 4 do not fit");
  EXPECT_EQ(copy(2, 0),
            "copy_heads: 2 heads of 0 from 1 to 1 rows, needs at least 1 and equal rows");
}

}  // namespace
}  // namespace baton::device
