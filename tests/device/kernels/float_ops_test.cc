// exp, SwiGLU, RMSNorm, RoPE and rounding to fp16: accurate, and the same bits on every ISA level.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/device/kernels/kernel_test_data.h"

namespace baton::device::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> ExpOf(const KernelTable& table, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  table.exp(x.data(), static_cast<int64_t>(x.size()), y.data());
  return y;
}

std::vector<float> ExpInputs() {
  std::vector<float> x;
  for (float v = -87.25f; v < 88.0f; v += 0.00731f) x.push_back(v);
  for (float v = -0.4f; v < 0.4f; v += 0.0001f) x.push_back(v);
  return x;
}

TEST(Exp, IsAsExactAsSinglePrecisionAllows) {
  const std::vector<float> x = ExpInputs();
  for (const KernelTable* table : AllTables()) {
    const std::vector<float> y = ExpOf(*table, x);
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      worst = std::max(worst, std::fabs(y[i] / std::exp(double{x[i]}) - 1));
    }
    EXPECT_LT(worst, 2e-7) << table->isa;
  }
}

TEST(Exp, EdgesAreDefined) {
  const std::vector<float> x = {-kInfinity,    -1e30f, -88.0f, 0.0f,     -0.0f,
                                std::nanf(""), 89.0f,  1e30f,  kInfinity};
  for (const KernelTable* table : AllTables()) {
    const std::vector<float> y = ExpOf(*table, x);
    for (const size_t zero : {0, 1, 2, 5}) EXPECT_TRUE(SameBits({y[zero]}, {0.0f})) << table->isa;
    EXPECT_EQ(y[3], 1.0f);
    EXPECT_EQ(y[4], 1.0f);
    for (const size_t large : {6, 7, 8}) EXPECT_NEAR(y[large] / std::exp(88.0), 1, 1e-6);
  }
}

TEST(Exp, EveryIsaGivesTheSameBits) {
  const std::vector<float> x = ExpInputs();
  const std::vector<float> scalar = ExpOf(*AllTables().back(), x);
  for (const KernelTable* table : AllTables()) {
    EXPECT_TRUE(SameBits(ExpOf(*table, x), scalar)) << table->isa;
  }
}

TEST(SiluTimes, IsAccurateAndTheSameOnEveryIsaForAnyLength) {
  for (const size_t n : {1, 15, 16, 17, 200}) {
    std::vector<float> gate = RandomFloats(3, n), up = RandomFloats(4, n);
    for (float& g : gate) g *= 100;
    std::vector<float> scalar(n);
    AllTables().back()->silu_times(gate.data(), up.data(), n, scalar.data());
    for (const KernelTable* table : AllTables()) {
      std::vector<float> out(n);
      table->silu_times(gate.data(), up.data(), n, out.data());
      EXPECT_TRUE(SameBits(out, scalar)) << table->isa;
      for (size_t i = 0; i < n; ++i) {
        const double expected = gate[i] / (1 + std::exp(-double{gate[i]})) * up[i];
        EXPECT_NEAR(out[i], expected, 1e-6 * std::fabs(expected) + 1e-35);
      }
    }
  }
}

TEST(GeluTimes, IsAccurateAndTheSameOnEveryIsaForAnyLength) {
  for (const size_t n : {1, 15, 16, 17, 200}) {
    std::vector<float> gate = RandomFloats(3, n), up = RandomFloats(4, n);
    for (float& g : gate) g *= 10;
    std::vector<float> scalar(n);
    AllTables().back()->gelu_times(gate.data(), up.data(), n, scalar.data());
    for (const KernelTable* table : AllTables()) {
      std::vector<float> out(n);
      table->gelu_times(gate.data(), up.data(), n, out.data());
      EXPECT_TRUE(SameBits(out, scalar)) << table->isa;
      for (size_t i = 0; i < n; ++i) {
        const double g = gate[i];
        const double z = std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g);
        EXPECT_NEAR(out[i], g / 2 * (1 + std::tanh(z)) * up[i], 3e-6 * std::fabs(g * up[i]));
      }
    }
  }
}

TEST(RmsNorm, IsAccurateAndTheSameOnEveryIsaForAnyWidth) {
  for (const size_t cols : {1, 5, 16, 33, 576, 1000}) {
    const std::vector<float> x = RandomFloats(5, cols), gain = RandomFloats(6, cols);
    double squares = 0;
    for (const float v : x) squares += double{v} * v;
    const double factor = 1 / std::sqrt(squares / static_cast<double>(cols) + 1e-5);
    std::vector<float> scalar(cols);
    AllTables().back()->rms_norm(x.data(), gain.data(), 1e-5f, cols, scalar.data());
    for (const KernelTable* table : AllTables()) {
      std::vector<float> out = x;  // in place
      table->rms_norm(out.data(), gain.data(), 1e-5f, cols, out.data());
      EXPECT_TRUE(SameBits(out, scalar)) << table->isa << " " << cols;
      for (size_t i = 0; i < cols; ++i) {
        const double expected = x[i] * factor * gain[i];
        EXPECT_NEAR(out[i], expected, 1e-6 * std::fabs(expected));
      }
    }
  }
}

TEST(Rope, RotatesPairsAndIsTheSameOnEveryIsa) {
  for (const bool interleaved : {false, true}) {
    for (const int32_t half : {1, 3, 16, 20, 32}) {
      const std::vector<float> head = RandomFloats(7, 2 * half);
      std::vector<float> cosines(half), sines(half);
      for (int32_t i = 0; i < half; ++i) {
        cosines[i] = std::cos(0.3f * static_cast<float>(i + 1));
        sines[i] = std::sin(0.3f * static_cast<float>(i + 1));
      }
      std::vector<float> scalar = head;
      AllTables().back()->rope(scalar.data(), cosines.data(), sines.data(), half, interleaved);
      for (const KernelTable* table : AllTables()) {
        std::vector<float> out = head;
        table->rope(out.data(), cosines.data(), sines.data(), half, interleaved);
        EXPECT_TRUE(SameBits(out, scalar)) << table->isa << " " << half;
        for (int32_t i = 0; i < half; ++i) {
          const int32_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + half;
          EXPECT_NEAR(out[a], head[a] * cosines[i] - head[b] * sines[i], 1e-6);
          EXPECT_NEAR(out[b], head[a] * sines[i] + head[b] * cosines[i], 1e-6);
        }
      }
    }
  }
}

TEST(ToHalf, RoundsAsTheDTypeDoes) {
  std::vector<float> x = RandomFloats(8, 4001);
  for (size_t i = 0; i < x.size(); ++i) x[i] *= std::exp2(static_cast<float>(i % 48) - 28);
  for (uint32_t h = 0; h < 0x7c00; h += 7) {  // halves, and ties between two of them
    x.push_back(HalfToFloat(static_cast<uint16_t>(h)));
    x.push_back(
        (HalfToFloat(static_cast<uint16_t>(h)) + HalfToFloat(static_cast<uint16_t>(h + 1))) / 2);
  }
  x.insert(x.end(), {kInfinity, -kInfinity, 65519.0f, 65520.0f, -1e30f});
  std::vector<uint16_t> expected;
  for (const float v : x) expected.push_back(FloatToHalf(v));
  for (const KernelTable* table : AllTables()) {
    std::vector<uint16_t> out(x.size());
    table->to_half(x.data(), static_cast<int64_t>(x.size()), out.data());
    EXPECT_EQ(out, expected) << table->isa;
  }
}

}  // namespace
}  // namespace baton::device::kernels
