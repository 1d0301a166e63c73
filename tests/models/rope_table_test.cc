// Frequencies of every scaling variant, and a table that grows without changing.
#include "models/rope_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "device/device_factory.h"

namespace baton::models {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

RopeConfig Plain() {
  RopeConfig rope;
  rope.base = 10000.0f;
  rope.rotary_dim = 8;
  return rope;
}

TEST(RopeFrequencies, PlainOnesArePowersOfTheBase) {
  EXPECT_THAT(RopeFrequencies(Plain(), 2048),
              ElementsAre(DoubleNear(1, 1e-12), DoubleNear(0.1, 1e-12), DoubleNear(0.01, 1e-12),
                          DoubleNear(0.001, 1e-12)));
  EXPECT_EQ(RopeMagnitude(Plain()), 1.0);
}

TEST(RopeFrequencies, LinearScalingDividesAll) {
  RopeConfig rope = Plain();
  rope.scaling = RopeConfig::Scaling::kLinear;
  rope.factor = 4;
  EXPECT_THAT(RopeFrequencies(rope, 2048),
              ElementsAre(DoubleNear(0.25, 1e-12), DoubleNear(0.025, 1e-12),
                          DoubleNear(0.0025, 1e-12), DoubleNear(0.00025, 1e-12)));
}

TEST(RopeFrequencies, FactorsDivideEachItsOwn) {
  RopeConfig rope = Plain();
  rope.scaling = RopeConfig::Scaling::kFactors;
  rope.frequency_factors = {1, 2, 4, 8};
  EXPECT_THAT(RopeFrequencies(rope, 2048),
              ElementsAre(DoubleNear(1, 1e-12), DoubleNear(0.05, 1e-12), DoubleNear(0.0025, 1e-12),
                          DoubleNear(0.000125, 1e-12)));
}

TEST(RopeFrequencies, LongRopeTakesTheListOfTheContextItServes) {
  RopeConfig rope = Plain();
  rope.scaling = RopeConfig::Scaling::kLongRope;
  rope.original_context = 64;
  rope.attention_factor = 1.25f;
  rope.short_factors = {1, 1, 2, 2};
  rope.long_factors = {1, 2, 4, 8};
  EXPECT_THAT(RopeFrequencies(rope, 64),
              ElementsAre(DoubleNear(1, 1e-12), DoubleNear(0.1, 1e-12), DoubleNear(0.005, 1e-12),
                          DoubleNear(0.0005, 1e-12)));
  EXPECT_THAT(RopeFrequencies(rope, 65),
              ElementsAre(DoubleNear(1, 1e-12), DoubleNear(0.05, 1e-12), DoubleNear(0.0025, 1e-12),
                          DoubleNear(0.000125, 1e-12)));
  EXPECT_EQ(RopeMagnitude(rope), 1.25);
}

// Wavelengths 2 pi times 1, 10, 100 and 1000 against a context of 1000: above 1000 / 4 all
// interpolated between, above 1000 divided by the factor.
TEST(RopeFrequencies, Llama3KeepsShortWavesAndStretchesLongOnes) {
  RopeConfig rope = Plain();
  rope.scaling = RopeConfig::Scaling::kLlama3;
  rope.factor = 8;
  rope.low_freq_factor = 1;
  rope.high_freq_factor = 4;
  rope.original_context = 1000;
  const double smooth = (1000 / (2 * M_PI * 100) - 1) / 3;
  EXPECT_THAT(RopeFrequencies(rope, 2048),
              ElementsAre(DoubleNear(1, 1e-12), DoubleNear(0.1, 1e-12),
                          DoubleNear(0.01 * ((1 - smooth) / 8 + smooth), 1e-12),
                          DoubleNear(0.001 / 8, 1e-12)));
}

// Pairs that turn 32 and 1 times within 1000 positions: 8 ln(1000 / (turns 2 pi)) / (2 ln 10000) =
// 0.70 and 2.20, so the ramp runs from pair 0 to pair 3.
TEST(RopeFrequencies, YarnRampsFromKeptToInterpolated) {
  RopeConfig rope = Plain();
  rope.scaling = RopeConfig::Scaling::kYarn;
  rope.factor = 4;
  rope.original_context = 1000;
  EXPECT_THAT(
      RopeFrequencies(rope, 2048),
      ElementsAre(DoubleNear(1, 1e-12), DoubleNear(0.1 * (2.0 / 3 + 1.0 / 12), 1e-12),
                  DoubleNear(0.01 * (1.0 / 3 + 2.0 / 12), 1e-12), DoubleNear(0.001 / 4, 1e-12)));
  EXPECT_NEAR(RopeMagnitude(rope), 0.1 * std::log(4.0) + 1, 1e-12);
  rope.attention_factor = 1.5f;
  EXPECT_EQ(RopeMagnitude(rope), 1.5);
}

// The same without rounding to whole pairs: the ramp runs from 0.697 to 2.202.
TEST(RopeFrequencies, YarnMayRampBetweenPairs) {
  RopeConfig rope = Plain();
  rope.scaling = RopeConfig::Scaling::kYarn;
  rope.factor = 4;
  rope.original_context = 1000;
  rope.truncate = false;
  const auto pair_of = [](double turns) {
    return 8 * std::log(1000 / (turns * 2 * 3.14159265358979323846)) / (2 * std::log(10000.0));
  };
  const double first = pair_of(32), last = pair_of(1);
  EXPECT_NEAR(first, 0.697, 0.001);
  EXPECT_NEAR(last, 2.202, 0.001);
  const auto mixed = [&](double frequency, int pair) {
    const double ramp = (pair - first) / (last - first);
    return DoubleNear(frequency * (ramp / 4 + 1 - ramp), 1e-12);
  };
  EXPECT_THAT(RopeFrequencies(rope, 2048),
              ElementsAre(DoubleNear(1, 1e-12), mixed(0.1, 1), mixed(0.01, 2),
                          DoubleNear(0.001 / 4, 1e-12)));
}

TEST(RopeTable, GrowsToTheContextAndKeepsItsRows) {
  const auto device = device::CreateDevice({.name = "cpu"});
  ASSERT_TRUE(device.ok()) << device.status();
  RopeTable table(Plain(), 5000, **device);
  ASSERT_TRUE(table.Cover(1).ok());
  EXPECT_LT(table.view().rows, 5000) << "everything was computed at once";
  const std::vector<float> first(table.view().row(0), table.view().row(0) + 1024 * 8);
  for (const int64_t positions : {1024, 1025, 3000, 5000}) {
    ASSERT_TRUE(table.Cover(positions).ok());
    ASSERT_GE(table.view().rows, positions);
    EXPECT_EQ(0, std::memcmp(first.data(), table.view().data, first.size() * sizeof(float)));
  }
  EXPECT_EQ(table.view().rows, 5000);
  EXPECT_EQ(table.view().cols, 8);
  const float* row = table.view().row(4321);
  EXPECT_FLOAT_EQ(row[1], static_cast<float>(std::cos(432.1)));
  EXPECT_FLOAT_EQ(row[4 + 1], static_cast<float>(std::sin(432.1)));
}

}  // namespace
}  // namespace baton::models
