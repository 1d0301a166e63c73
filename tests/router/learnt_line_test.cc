#include "router/learnt_line.h"

#include <gtest/gtest.h>

namespace baton::router {
namespace {

const absl::Time kNow = absl::UnixEpoch() + absl::Hours(1);
Line At(const LearntLine& line, absl::Time now = kNow) { return line.At(absl::ToUnixNanos(now)); }

TEST(LearntLineTest, NothingIsKnownBeforeTheFirstObservation) {
  LearntLine line;
  EXPECT_FALSE(At(line).known);
  line.Observe(0, 1, kNow);  // no size, nothing learnt
  line.Observe(1, -1, kNow);
  EXPECT_FALSE(At(line).known);
}

TEST(LearntLineTest, FixedPartAndSlopeAreFound) {
  LearntLine line;
  for (int i = 0; i < 50; ++i) {
    const double units = 100 + 37 * (i % 10);
    line.Observe(units, 0.02 + 0.001 * units, kNow);
  }
  EXPECT_NEAR(At(line).fixed_s, 0.02, 1e-6);
  EXPECT_NEAR(At(line).unit_s, 0.001, 1e-8);
}

TEST(LearntLineTest, ObservationsOfOneSizeGiveALineThroughTheOrigin) {
  LearntLine line;
  for (int i = 0; i < 5; ++i) line.Observe(200, 0.4, kNow);
  EXPECT_NEAR(At(line).fixed_s, 0, 1e-12);
  EXPECT_NEAR(At(line).At(400), 0.8, 1e-9);
}

TEST(LearntLineTest, NeitherPartIsEverNegative) {
  LearntLine line;
  // Falling with size, as noise makes it.
  for (int i = 1; i <= 20; ++i) line.Observe(i * 10, 1.0 / i, kNow);
  EXPECT_GE(At(line).fixed_s, 0);
  EXPECT_GT(At(line).unit_s, 0);
  // Steeper than through the origin.
  LearntLine steep;
  for (int i = 1; i <= 20; ++i) steep.Observe(i * 10, i * i * 0.01, kNow);
  EXPECT_GE(At(steep).fixed_s, 0);
}

TEST(LearntLineTest, ANodeThatBecameFasterIsBelievedAfterSomeObservations) {
  LearntLine line;
  for (int i = 0; i < 100; ++i) line.Observe(100 + i, 1, kNow);
  for (int i = 0; i < 100; ++i) line.Observe(100 + i, 0.1, kNow);
  EXPECT_NEAR(At(line).At(150), 0.1, 0.02);
}

TEST(LearntLineTest, WhatIsOldIsForgotten) {
  LearntLine line;
  line.Observe(10, 1, kNow);
  EXPECT_TRUE(At(line, kNow + LearntLine::kForgetAfter).known);
  EXPECT_FALSE(At(line, kNow + LearntLine::kForgetAfter + absl::Seconds(1)).known);
}

}  // namespace
}  // namespace baton::router
