#include "server/fault_injection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::server {
namespace {

constexpr absl::string_view kHere = "127.0.0.1:0";
constexpr absl::string_view kPoints[] = {"drop", "delay", "crash"};

std::string Refusal(absl::string_view spec) {
  return std::string(FaultInjection::Parse(spec, kHere, kPoints).status().message());
}

TEST(FaultInjection, WithoutASpecificationNothingHappens) {
  const auto faults = FaultInjection::Parse("", kHere, kPoints).value();
  EXPECT_FALSE(faults->enabled());
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(faults->Fires("drop").has_value());
}

TEST(FaultInjection, TheNthTimeIsTheOnlyTime) {
  const auto faults = FaultInjection::Parse("crash=@3:250ms", kHere, kPoints).value();
  std::vector<int> fired;
  for (int i = 1; i <= 10; ++i) {
    if (const auto time = faults->Fires("crash")) {
      fired.push_back(i);
      EXPECT_EQ(*time, absl::Milliseconds(250));
    }
  }
  EXPECT_THAT(fired, testing::ElementsAre(3));
  EXPECT_EQ(faults->counts().at("crash"), 1);
}

TEST(FaultInjection, ProbabilitiesAreDrawnFromTheSeedAndCounted) {
  const auto run = [](absl::string_view spec) {
    const auto faults = FaultInjection::Parse(spec, kHere, kPoints).value();
    std::vector<bool> fired;
    for (int i = 0; i < 2000; ++i) fired.push_back(faults->Fires("drop").has_value());
    EXPECT_EQ(faults->counts().at("drop"), std::count(fired.begin(), fired.end(), true));
    return fired;
  };
  const std::vector<bool> fired = run("seed=5,drop=0.1");
  EXPECT_EQ(fired, run("drop=0.1,seed=5"));
  // Other points do not change the draws of this one.
  EXPECT_EQ(fired, run("seed=5,drop=0.1,delay=0.5"));
  EXPECT_NE(fired, run("seed=6,drop=0.1"));
  const auto count = std::count(fired.begin(), fired.end(), true);
  EXPECT_GT(count, 140);
  EXPECT_LT(count, 260);
}

TEST(FaultInjection, WhatIsWrongIsNamed) {
  for (const char* spec : {"drop=2", "drop=0", "drop=-1", "drop=", "drop", "drop=nan", "delay=1:5",
                           "delay=1:-5ms", "delay=1:5ms:7", "crash=@0", "crash=@x", "seed=x"}) {
    EXPECT_THAT(Refusal(spec), testing::HasSubstr(spec)) << spec;
    EXPECT_THAT(Refusal(spec), testing::HasSubstr("allowed is")) << spec;
  }
  EXPECT_THAT(Refusal("explode=1"), testing::HasSubstr("one of drop, delay, crash, seed"));
}

TEST(FaultInjection, OnlyOnLoopback) {
  EXPECT_TRUE(FaultInjection::Parse("drop=1", "127.0.0.1:0", kPoints).ok());
  EXPECT_TRUE(FaultInjection::Parse("", "0.0.0.0:8010", kPoints).ok());
  EXPECT_EQ(FaultInjection::Parse("drop=1", "0.0.0.0:8010", kPoints).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace baton::server
