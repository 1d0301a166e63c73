#include "base/rng.h"

#include <gtest/gtest.h>

#include <bit>
#include <set>

namespace baton {
namespace {

TEST(CounterRandom, IsAFunctionOfKeyAndCounterAlone) {
  // Written down: a token drawn with a seed must not change between releases.
  EXPECT_EQ(CounterRandom(0, 0), 0xa706dd2f4d197e6fu);
  EXPECT_EQ(CounterRandom(1, 0), 0x5e41ab087439611eu);
  EXPECT_EQ(CounterRandom(~uint64_t{0}, ~uint64_t{0}), 0x445018e305810b78u);
  std::set<uint64_t> words;
  for (uint64_t key = 0; key < 100; ++key) {
    for (uint64_t counter = 0; counter < 100; ++counter) words.insert(CounterRandom(key, counter));
  }
  EXPECT_EQ(words.size(), 10000u);
}

TEST(CounterRandom, NeighbouringCountersShareNoBits) {
  // Half of the bits differ on average; the bounds are ten standard deviations wide.
  int64_t differing = 0;
  constexpr int kPairs = 10000;
  for (uint64_t i = 0; i < kPairs; ++i) {
    differing += std::popcount(CounterRandom(42, i) ^ CounterRandom(42, i + 1));
  }
  EXPECT_NEAR(static_cast<double>(differing) / kPairs, 32.0, 0.4);
}

TEST(SeededRng, RepeatsItsStream) {
  SeededRng one(7), other(7), different(8);
  for (int i = 0; i < 100; ++i) {
    const uint64_t word = one.Next();
    EXPECT_EQ(word, other.Next());
    EXPECT_NE(word, different.Next());
  }
}

TEST(SystemRng, DoesNotRepeat) {
  SystemRng rng;
  std::set<uint64_t> words;
  for (int i = 0; i < 1000; ++i) words.insert(rng.Next());
  EXPECT_EQ(words.size(), 1000u);
}

}  // namespace
}  // namespace baton
