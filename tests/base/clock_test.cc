#include "base/clock.h"

#include <gtest/gtest.h>

namespace baton {
namespace {

TEST(SystemClock, NeverGoesBackwards) {
  absl::Time last = SystemClock::Get().Now();
  for (int i = 0; i < 10000; ++i) {
    const absl::Time now = SystemClock::Get().Now();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(ManualClock, MovesOnlyWhenTold) {
  ManualClock clock;
  const absl::Time begin = clock.Now();
  EXPECT_EQ(clock.Now(), begin);
  clock.Advance(absl::Milliseconds(1500));
  EXPECT_EQ(clock.Now() - begin, absl::Milliseconds(1500));
}

}  // namespace
}  // namespace baton
