// The thread team: everybody runs, nobody is left behind, and an idle team costs nothing.
#include "device/thread_team.h"

#include <gtest/gtest.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace baton::device {
namespace {

double ProcessCpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

class ThreadTeamTest : public testing::TestWithParam<int> {};

TEST_P(ThreadTeamTest, EveryMemberRunsOnceARun) {
  ThreadTeam team(GetParam());
  ASSERT_EQ(team.size(), GetParam());
  std::vector<int64_t> calls(team.size());  // not atomic: Run orders the accesses
  for (int run = 0; run < 2000; ++run) {
    team.Run([&](int member) { ++calls[member]; });
  }
  for (const int64_t count : calls) EXPECT_EQ(count, 2000);
}

TEST_P(ThreadTeamTest, TheCallerIsMemberZero) {
  ThreadTeam team(GetParam());
  std::thread::id zero;
  team.Run([&](int member) {
    if (member == 0) zero = std::this_thread::get_id();
  });
  EXPECT_EQ(zero, std::this_thread::get_id());
}

TEST_P(ThreadTeamTest, WhatWasWrittenBeforeABarrierIsSeenByAllAfterIt) {
  ThreadTeam team(GetParam());
  constexpr int kRounds = 500;
  std::vector<int> written(team.size());
  std::vector<int> wrong(team.size());
  team.Run([&](int member) {
    for (int round = 1; round <= kRounds; ++round) {
      written[member] = round;
      team.Barrier();
      for (const int value : written) wrong[member] += value != round;
      team.Barrier();
    }
  });
  for (const int count : wrong) EXPECT_EQ(count, 0);
}

TEST_P(ThreadTeamTest, RunsAgainAfterAllHaveFallenAsleep) {
  ThreadTeam team(GetParam());
  std::vector<int> calls(team.size());
  for (int run = 0; run < 5; ++run) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    team.Run([&](int member) {
      if (member == run % team.size()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      team.Barrier();
      ++calls[member];
    });
  }
  for (const int count : calls) EXPECT_EQ(count, 5);
}

TEST_P(ThreadTeamTest, SharedWorkIsDoneOnceWhoeverComes) {
  ThreadTeam team(GetParam());
  std::vector<int> pieces(64);  // not atomic: each piece has one taker, and Share orders the rest
  for (int run = 1; run <= 2000; ++run) {
    std::atomic<size_t> next{0};
    team.Share([&](int) {
      for (size_t i = next.fetch_add(1); i < pieces.size(); i = next.fetch_add(1)) ++pieces[i];
    });
    for (const int count : pieces) ASSERT_EQ(count, run);
  }
}

TEST_P(ThreadTeamTest, SharedAndCommonRunsMayAlternate) {
  ThreadTeam team(GetParam());
  std::vector<int64_t> calls(team.size());
  for (int run = 0; run < 1000; ++run) {
    std::atomic<int> shared{0};
    team.Share([&](int) { shared.fetch_add(1); });
    EXPECT_GE(shared.load(), 1);
    EXPECT_LE(shared.load(), team.size());
    team.Run([&](int member) {
      ++calls[member];
      team.Barrier();
    });
  }
  for (const int64_t count : calls) EXPECT_EQ(count, 1000);
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadTeamTest, testing::Values(1, 2, 3, 8));

TEST(ThreadTeam, SleepsWhenIdle) {
  ThreadTeam team(4);
  team.Run([](int) {});
  const double begin = ProcessCpuSeconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(ProcessCpuSeconds() - begin, 0.1);
}

TEST(ThreadTeam, SleepsWhileItWaitsForASlowMember) {
  ThreadTeam team(4);
  const double begin = ProcessCpuSeconds();
  team.Run([&](int member) {
    if (member == 1) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    team.Barrier();
  });
  EXPECT_LT(ProcessCpuSeconds() - begin, 0.1);
}

TEST(ThreadTeam, IsMadeAndEndedAtAnyTime) {
  for (int i = 0; i < 100; ++i) {
    ThreadTeam team(1 + i % 5);
    if (i % 3 == 0) team.Run([](int) {});
  }
}

}  // namespace
}  // namespace baton::device
