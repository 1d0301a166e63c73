#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "tests/simulation/handover_world.h"

namespace baton::simulation {
namespace {

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::atomic<unsigned long long> current_seed{0};

// A check of the production code that fails ends the process: the seed must not be lost with it.
void TellSeed(int) {
  std::fprintf(stderr, "replay: BATON_SIM_SEED=%llu build/release/bin/simulation_test\n",
               current_seed.load());
  std::signal(SIGABRT, SIG_DFL);
}

void Add(const Tally& from, Tally* to) {
  to->events += from.events;
  to->requests += from.requests;
  to->completed += from.completed;
  to->failed += from.failed;
  to->aborted += from.aborted;
  to->crashes += from.crashes;
  to->freezes += from.freezes;
  to->clogs += from.clogs;
  to->router_deaths += from.router_deaths;
  to->damaged += from.damaged;
  to->duplicated += from.duplicated;
  to->reordered += from.reordered;
  to->refused += from.refused;
  to->expired += from.expired;
  to->takeovers += from.takeovers;
}

TEST(HandoverSimulation, EveryInvariantHoldsForEverySeed) {
  const uint64_t only = FromEnvironment("BATON_SIM_SEED", 0);
  const uint64_t seeds = only != 0 ? 1 : FromEnvironment("BATON_SIM_SEEDS", 1000);
  Tally all;
  std::signal(SIGABRT, TellSeed);
  for (uint64_t seed = only != 0 ? only : 1; seeds > 0 && seed < (only != 0 ? only : 1) + seeds;
       ++seed) {
    current_seed = seed;
    HandoverWorld world(seed, Broken::kNothing);
    const std::string violation = world.Run();
    ASSERT_EQ(violation, "") << "replay: BATON_SIM_SEED=" << seed
                             << " build/release/bin/simulation_test "
                                "--gtest_filter=HandoverSimulation.EveryInvariant*";
    Add(world.tally(), &all);
  }
  std::printf(
      "figure R7: %llu seeds, %lld events, %lld requests (%lld completed, %lld aborted, "
      "%lld failed), %lld crashes, %lld freezes, %lld clogs, %lld router deaths, %lld frames "
      "damaged, %lld repeated, %lld late, %lld refused, %lld leases expired, %lld takeovers\n",
      static_cast<unsigned long long>(seeds), static_cast<long long>(all.events),
      static_cast<long long>(all.requests), static_cast<long long>(all.completed),
      static_cast<long long>(all.aborted), static_cast<long long>(all.failed),
      static_cast<long long>(all.crashes), static_cast<long long>(all.freezes),
      static_cast<long long>(all.clogs), static_cast<long long>(all.router_deaths),
      static_cast<long long>(all.damaged), static_cast<long long>(all.duplicated),
      static_cast<long long>(all.reordered), static_cast<long long>(all.refused),
      static_cast<long long>(all.expired), static_cast<long long>(all.takeovers));
  if (only != 0) return;
  // Every kind of fault took effect.
  for (const int64_t count :
       {all.completed, all.aborted, all.crashes, all.freezes, all.clogs, all.router_deaths,
        all.damaged, all.duplicated, all.reordered, all.refused, all.expired, all.takeovers}) {
    EXPECT_GT(count, 0);
  }
}

TEST(HandoverSimulation, TheSameSeedIsTheSameStory) {
  HandoverWorld first(42, Broken::kNothing), second(42, Broken::kNothing);
  EXPECT_EQ(first.Run(), second.Run());
  EXPECT_EQ(first.tally().events, second.tally().events);
  EXPECT_EQ(first.tally().refused, second.tally().refused);
}

// Each variant that is broken on purpose is found within 1,000 seeds, by the invariant that it
// breaks.
class BrokenVariants : public testing::TestWithParam<std::pair<Broken, const char*>> {};

TEST_P(BrokenVariants, AreFound) {
  const auto& [broken, invariant] = GetParam();
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    const std::string violation = HandoverWorld(seed, broken).Run();
    if (violation.empty()) continue;
    EXPECT_EQ(violation.substr(0, 2), invariant) << violation;
    std::printf("found with seed %llu: %s\n", static_cast<unsigned long long>(seed),
                violation.c_str());
    return;
  }
  FAIL() << "not found in 1,000 seeds";
}

INSTANTIATE_TEST_SUITE_P(Five, BrokenVariants,
                         testing::Values(std::make_pair(Broken::kLeasesNeverExpire, "I5"),
                                         std::make_pair(Broken::kEpochUnchecked, "I2"),
                                         std::make_pair(Broken::kChecksumUnchecked, "I2"),
                                         std::make_pair(Broken::kCommitWithHoles, "I2"),
                                         std::make_pair(Broken::kRenewedForEver, "I8")));

}  // namespace
}  // namespace baton::simulation
