#include "engine/token_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/rng.h"

namespace baton::engine {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

std::vector<float> RandomLogits(size_t size) {
  std::vector<float> logits(size);
  for (size_t i = 0; i < size; ++i) {
    logits[i] = static_cast<float>(CounterRandom(1, i) >> 40) * 0x1p-24f * 60 - 40;
  }
  return logits;
}

TEST(TokenWeights, AreTheExponentialsOfTheDefinition) {
  for (const size_t size : {1, 15, 16, 255, 256, 257, 5000}) {
    std::vector<float> logits = RandomLogits(size);
    if (size > 300) logits[123] = kNever;
    for (const double temperature : {0.01, 0.7, 1.0, 2.0}) {
      const float highest = Highest(logits);
      const TokenWeights result = WeightsOf(logits, highest, temperature);
      double total = 0;
      for (size_t i = 0; i < size; ++i) {
        const double x = (double{logits[i]} - highest) / temperature;
        const double expected = x < -86.9 ? 0.0 : std::exp(x);
        // The quotient is rounded to a float before it is an exponent.
        EXPECT_NEAR(result.weights[i], expected,
                    expected > 0 ? expected * (1e-6 + 1e-7 * -x) : 1e-37)
            << x;
        total += result.weights[i];
      }
      EXPECT_NEAR(result.total, total, 1e-12 * total);
      double blocks = 0;
      for (const double sum : result.block_sums) blocks += sum;
      EXPECT_EQ(blocks, result.total);
    }
  }
}

TEST(TokenWeights, TheHighestIsOneHoweverSmallTheTemperature) {
  for (const double temperature : {1e-3, 1e-20, 1e-300}) {
    const TokenWeights result = WeightsOf(std::vector<float>{1, 3, 2}, 3, temperature);
    EXPECT_EQ(result.weights, (std::vector<float>{0, 1, 0}));
    EXPECT_EQ(result.total, 1);
  }
}

TEST(Rows, KnowTheirHighestAndTheFirstThatHasIt) {
  std::vector<float> logits = RandomLogits(1000);
  for (const size_t at : {0, 1, 500, 996, 999}) {
    std::vector<float> row = logits;
    row[at] = 100;
    if (at + 2 < row.size()) row[at + 2] = 100;
    EXPECT_EQ(Highest(row), 100);
    EXPECT_EQ(ArgMax(row), static_cast<int32_t>(at));
  }
  EXPECT_EQ(ArgMax(std::vector<float>{kNever, kNever}), 0);
}

TEST(Rows, NameTheFirstValueThatIsNoNumber) {
  EXPECT_EQ(FirstNotFinite(RandomLogits(1000)), -1);
  for (const float bad : {kNever, -kNever, std::nanf("")}) {
    for (const size_t at : {0, 17, 992, 999}) {
      std::vector<float> row = RandomLogits(1000);
      row[at] = bad;
      row[999] = bad;
      EXPECT_EQ(FirstNotFinite(row), static_cast<int64_t>(at));
    }
  }
  EXPECT_EQ(FirstNotFinite(std::vector<float>(40, std::numeric_limits<float>::max())), -1);
}

TEST(Rows, ListWhatIsHighEnoughInOrder) {
  const std::vector<float> row = RandomLogits(1003);
  std::vector<int32_t> expected;
  for (size_t i = 0; i < row.size(); ++i) {
    if (row[i] >= 10) expected.push_back(static_cast<int32_t>(i));
  }
  EXPECT_EQ(IdsFrom(row, 10), expected);
  EXPECT_TRUE(IdsFrom(row, 1000).empty());
}

}  // namespace
}  // namespace baton::engine
