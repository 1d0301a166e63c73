#include "bench/load/arrivals.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace baton::bench {
namespace {

// Squared coefficient of variation of the gaps: 1 / burstiness for a gamma distribution.
double GapVariation(const std::vector<double>& times) {
  double sum = 0;
  double squares = 0;
  double previous = 0;
  for (double time : times) {
    sum += time - previous;
    squares += (time - previous) * (time - previous);
    previous = time;
  }
  const double mean = sum / static_cast<double>(times.size());
  return squares / static_cast<double>(times.size()) / (mean * mean) - 1;
}

TEST(ArrivalTimes, KeepTheRateAndTheShape) {
  for (double burstiness : {0.5, 1.0, 4.0}) {
    const std::vector<double> times = ArrivalTimes(20000, 50, burstiness, 3);
    EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
    EXPECT_NEAR(times.back(), 400, 1e-6);
    EXPECT_NEAR(GapVariation(times), 1 / burstiness, 0.15 / burstiness);
  }
}

TEST(ArrivalTimes, AreAllZeroAtAnInfiniteRate) {
  EXPECT_EQ(ArrivalTimes(3, std::numeric_limits<double>::infinity(), 1, 0),
            std::vector<double>(3, 0.0));
  EXPECT_TRUE(ArrivalTimes(0, 5, 1, 0).empty());
}

TEST(ArrivalTimes, DependOnTheSeedOnly) {
  EXPECT_EQ(ArrivalTimes(10, 2, 1, 7), ArrivalTimes(10, 2, 1, 7));
  EXPECT_NE(ArrivalTimes(10, 2, 1, 7), ArrivalTimes(10, 2, 1, 8));
}

}  // namespace
}  // namespace baton::bench
