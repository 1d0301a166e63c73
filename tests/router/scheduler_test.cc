#include "router/scheduler.h"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "router/scorers/free_blocks.h"
#include "router/scorers/queue.h"

namespace baton::router {
namespace {

PrefillCandidate Prefill(int64_t queued, double rate) {
  return {.queued_tokens = queued, .tokens_per_s = rate, .context_length = 1000};
}

DecodeCandidate Decode(int64_t free, int64_t sequences) {
  return {.blocks_free = free, .blocks_total = 100, .sequences = sequences, .context_length = 1000};
}

TEST(SchedulerTest, PrefillGoesWhereTheExpectedWaitIsLeastNotWhereTheQueueIsShortest) {
  // 4000 tokens at 2000/s wait less than 3000 at 1000/s.
  const std::vector<PrefillCandidate> nodes = {Prefill(3000, 1000), Prefill(4000, 2000)};
  EXPECT_EQ(PickPrefill(nodes, 100, 0), 1u);
}

TEST(SchedulerTest, AnUnmeasuredPrefillNodeGetsWork) {
  const std::vector<PrefillCandidate> nodes = {Prefill(100, 500), Prefill(0, 0)};
  EXPECT_EQ(PickPrefill(nodes, 100, 0), 1u);
}

TEST(SchedulerTest, EqualNodesTakeTurns) {
  const std::vector<PrefillCandidate> prefill = {Prefill(0, 0), Prefill(0, 0)};
  EXPECT_NE(PickPrefill(prefill, 10, 0), PickPrefill(prefill, 10, 1));
  const std::vector<DecodeCandidate> decode = {Decode(50, 1), Decode(50, 1)};
  EXPECT_NE(PickDecode(decode, 10, 0), PickDecode(decode, 10, 1));
}

TEST(SchedulerTest, UnavailableNodesAndThoseWithTooShortAContextAreLeftOut) {
  std::vector<PrefillCandidate> nodes = {Prefill(0, 1000), Prefill(900, 1000)};
  nodes[0].available = false;
  EXPECT_EQ(PickPrefill(nodes, 100, 0), 1u);
  nodes[1].context_length = 100;  // 100 tokens of prompt need room for one more
  EXPECT_EQ(PickPrefill(nodes, 100, 0), std::nullopt);
  nodes[1].context_length = 101;
  EXPECT_EQ(PickPrefill(nodes, 100, 0), 1u);
  EXPECT_EQ(PickPrefill({}, 1, 0), std::nullopt);
}

TEST(SchedulerTest, DecodeGoesToTheMostFreeBlocksAndTheShortestBatch) {
  EXPECT_EQ(PickDecode(std::vector{Decode(20, 4), Decode(80, 4)}, 10, 0), 1u);
  EXPECT_EQ(PickDecode(std::vector{Decode(50, 30), Decode(50, 2)}, 10, 0), 1u);
}

TEST(SchedulerTest, APromptThatNeverFitsAPoolIsNotSentThere) {
  std::vector<DecodeCandidate> nodes = {Decode(100, 0)};
  nodes[0].context_length = 100000;
  EXPECT_EQ(PickDecode(nodes, 100 * 32, 0), std::nullopt);
  EXPECT_EQ(PickDecode(nodes, 100 * 32 - 1, 0), 0u);
}

TEST(SchedulerTest, ScoresStayBetweenZeroAndOneAndFallWithLoad) {
  double last = 1.1;
  for (const int64_t queued : {0, 10, 1000, 1000000}) {
    const double score = QueueScore(ExpectedPrefillSeconds(queued, 1, 100));
    EXPECT_GT(score, 0);
    EXPECT_LT(score, last);
    last = score;
  }
  EXPECT_EQ(FreeBlocksScore(5, 10, 100), 0);
  EXPECT_EQ(FreeBlocksScore(100, 0, 100), 1);
  EXPECT_EQ(FreeBlocksScore(0, 0, 0), 0);
  EXPECT_GT(BatchScore(0), BatchScore(1));
}

TEST(SchedulerTest, ADecisionOverAHundredNodesTakesFarLessThanFiftyMicroseconds) {
  const std::vector<PrefillCandidate> prefill(100, Prefill(10, 1000));
  const std::vector<DecodeCandidate> decode(100, Decode(50, 3));
  constexpr int kRounds = 200;
  size_t sum = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kRounds; ++i) {
    sum += *PickPrefill(prefill, 100, i) + *PickDecode(decode, 100, i);
  }
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  EXPECT_GT(sum, 0u);
  EXPECT_LT(time.count() / kRounds, 50e-6);
}

}  // namespace
}  // namespace baton::router
