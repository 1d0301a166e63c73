#include "router/scheduler.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "router/scorers/free_blocks.h"
#include "router/scorers/latency.h"
#include "router/scorers/prefix_affinity.h"
#include "router/scorers/queue.h"
#include "router/scorers/slo_headroom.h"

namespace baton::router {
namespace {

PrefillCandidate Prefill(int64_t queued, double rate) {
  PrefillCandidate node;
  node.queued_tokens = queued;
  node.tokens_per_s = rate;
  node.context_length = 100000;
  return node;
}

DecodeCandidate Decode(int64_t free, int64_t sequences) {
  DecodeCandidate node;
  node.blocks_free = free;
  node.blocks_total = 1000;
  node.sequences = sequences;
  node.context_length = 100000;
  return node;
}

// A decode node that computes prompts at `rate` tokens/s.
DecodeCandidate Computing(int64_t sequences, double rate) {
  DecodeCandidate node = Decode(1000, sequences);
  node.prefill = {0, 1 / rate, true};
  return node;
}

Placement Prompt(int64_t tokens, uint64_t turn = 0) {
  Placement placement;
  placement.prompt_tokens = tokens;
  placement.kv_bytes_per_token = 1000;
  placement.turn = turn;
  return placement;
}

SchedulePolicy Always() { return {}; }
SchedulePolicy Auto() {
  SchedulePolicy policy;
  policy.disaggregate = Disaggregate::kAuto;
  return policy;
}

std::optional<size_t> PrefillOf(const std::vector<PrefillCandidate>& nodes, int64_t tokens,
                                uint64_t turn = 0) {
  return PickPrefill(Always(), Prompt(tokens, turn), nodes, nullptr);
}
std::optional<size_t> DecodeOf(const std::vector<DecodeCandidate>& nodes, int64_t tokens,
                               uint64_t turn = 0, const SchedulePolicy& policy = Always()) {
  return Decide(policy, Prompt(tokens, turn), std::vector{Prefill(0, 1000)}, nodes).decode;
}

TEST(SchedulerTest, PrefillGoesWhereTheExpectedWaitIsLeastNotWhereTheQueueIsShortest) {
  // 4000 tokens at 2000/s wait less than 3000 at 1000/s.
  EXPECT_EQ(PrefillOf({Prefill(3000, 1000), Prefill(4000, 2000)}, 100), 1u);
}

TEST(SchedulerTest, AnUnmeasuredPrefillNodeGetsWork) {
  EXPECT_EQ(PrefillOf({Prefill(100, 500), Prefill(0, 0)}, 100), 1u);
}

TEST(SchedulerTest, WhatWasLearntOfANodeCountsMoreThanWhatItReports) {
  std::vector nodes = {Prefill(0, 1000), Prefill(0, 2000)};
  nodes[1].prefill = {0.5, 0.001, true};
  EXPECT_EQ(PrefillOf(nodes, 100), 0u);
}

TEST(SchedulerTest, APromptGoesWhereItsBeginningIsCachedUnlessTheQueueThereCostsMore) {
  std::vector nodes = {Prefill(0, 1000), Prefill(0, 1000)};
  nodes[1].cached_tokens = 960;
  EXPECT_EQ(PrefillOf(nodes, 1000), 1u);
  nodes[1].queued_tokens = 5000;
  EXPECT_EQ(PrefillOf(nodes, 1000), 0u);
}

TEST(SchedulerTest, EqualNodesTakeTurns) {
  const std::vector prefill = {Prefill(0, 0), Prefill(0, 0)};
  EXPECT_NE(PrefillOf(prefill, 10, 0), PrefillOf(prefill, 10, 1));
  const std::vector decode = {Decode(50, 1), Decode(50, 1)};
  EXPECT_NE(DecodeOf(decode, 10, 0), DecodeOf(decode, 10, 1));
}

TEST(SchedulerTest, WithoutWeightsItIsRoundRobin) {
  SchedulePolicy policy;
  policy.latency_weight = policy.queue_weight = policy.prefix_weight = 0;
  policy.free_blocks_weight = policy.batch_weight = policy.headroom_weight = 0;
  const std::vector decode = {Decode(0, 60), Decode(1000, 0), Decode(10, 3)};
  std::set<size_t> picked;
  for (uint64_t turn = 0; turn < 3; ++turn) picked.insert(*DecodeOf(decode, 10, turn, policy));
  EXPECT_EQ(picked.size(), 3u);
}

TEST(SchedulerTest, UnavailableNodesAndThoseWithTooShortAContextAreLeftOut) {
  std::vector nodes = {Prefill(0, 1000), Prefill(900, 1000)};
  nodes[0].available = false;
  EXPECT_EQ(PrefillOf(nodes, 100), 1u);
  nodes[1].context_length = 100;  // 100 tokens of prompt need room for one more
  EXPECT_EQ(PrefillOf(nodes, 100), std::nullopt);
  nodes[1].context_length = 101;
  EXPECT_EQ(PrefillOf(nodes, 100), 1u);
  EXPECT_EQ(PrefillOf({}, 1), std::nullopt);
}

TEST(SchedulerTest, DecodeGoesToTheMostFreeBlocksAndTheShortestBatch) {
  EXPECT_EQ(DecodeOf({Decode(200, 4), Decode(800, 4)}, 10), 1u);
  EXPECT_EQ(DecodeOf({Decode(500, 30), Decode(500, 2)}, 10), 1u);
}

TEST(SchedulerTest, DecodeGoesWhereTheStepIsMeasuredToBeShortThoughTheBatchIsLonger) {
  std::vector nodes = {Decode(500, 2), Decode(500, 8)};
  nodes[0].step = {0.05, 0.001, true};
  nodes[1].step = {0.005, 0.0001, true};
  EXPECT_EQ(DecodeOf(nodes, 10), 1u);
}

TEST(SchedulerTest, DecodeGoesWhereThePromptIsCached) {
  std::vector nodes = {Decode(500, 2), Decode(500, 2)};
  nodes[1].cached_tokens = 64;
  EXPECT_EQ(DecodeOf(nodes, 100, 0), 1u);
  EXPECT_EQ(DecodeOf(nodes, 100, 1), 1u);
}

TEST(SchedulerTest, APromptThatNeverFitsAPoolIsNotSentThere) {
  const std::vector nodes = {Decode(1000, 0)};
  EXPECT_EQ(DecodeOf(nodes, 1000 * 32), std::nullopt);
  EXPECT_EQ(DecodeOf(nodes, 1000 * 32 - 1), 0u);
}

TEST(SchedulerTest, ASlowLinkCountsAgainstAPair) {
  std::vector decode = {Decode(500, 0)};
  std::vector prefill = {Prefill(0, 1000), Prefill(100, 1000)};
  prefill[0].transfer = {0, 1e-6, true};  // 1 MB/s: 100 tokens of 1000 bytes take 0.1 s
  EXPECT_EQ(PickPrefill(Always(), Prompt(100), prefill, &decode[0]), 0u);
  prefill[0].transfer = {0, 1e-5, true};
  EXPECT_EQ(PickPrefill(Always(), Prompt(100), prefill, &decode[0]), 1u);
  decode[0].cached_tokens = 96;  // then little is left to move
  EXPECT_EQ(PickPrefill(Always(), Prompt(100), prefill, &decode[0]), 0u);
}

TEST(SchedulerTest, AlwaysAndNeverAreObeyed) {
  const std::vector prefill = {Prefill(1000000, 1)};
  const std::vector decode = {Computing(0, 1e6)};
  Decision decision = Decide(Always(), Prompt(10), prefill, decode);
  EXPECT_EQ(decision.reason, PlaceReason::kAlways);
  EXPECT_TRUE(decision.prefill);
  SchedulePolicy never;
  never.disaggregate = Disaggregate::kNever;
  decision = Decide(never, Prompt(100000 - 1), {}, std::vector{Computing(9, 1)});
  EXPECT_EQ(decision.reason, PlaceReason::kNever);
  EXPECT_EQ(decision.decode, std::nullopt);  // 100 000 tokens are not in a pool of 32 000
  decision = Decide(never, Prompt(100), prefill, std::vector{Computing(9, 1)});
  EXPECT_EQ(decision.decode, 0u);
  EXPECT_EQ(decision.prefill, std::nullopt);
}

TEST(SchedulerTest, AShortRestIsComputedOnTheDecodeNodeAndALongOneIsNot) {
  std::vector prefill = {Prefill(0, 2000)};
  prefill[0].prefill = {0.02, 1.0 / 2000, true};  // 20 ms whatever the length
  std::vector decode = {Computing(0, 500)};
  Decision decision = Decide(Auto(), Prompt(8), prefill, decode);
  EXPECT_EQ(decision.reason, PlaceReason::kShortRest);
  EXPECT_TRUE(IsLocal(decision.reason));
  EXPECT_EQ(decision.prefill, std::nullopt);
  EXPECT_NEAR(decision.ttft_s, 8.0 / 500, 1e-9);
  decision = Decide(Auto(), Prompt(500), prefill, decode);
  EXPECT_EQ(decision.reason, PlaceReason::kPrefillCheaper);
  EXPECT_EQ(decision.prefill, 0u);
  EXPECT_LT(decision.remote_cost_s, decision.local_cost_s);
  // What counts is the rest that is not cached.
  decode[0].cached_tokens = 496;
  EXPECT_EQ(Decide(Auto(), Prompt(500), prefill, decode).reason, PlaceReason::kShortRest);
}

TEST(SchedulerTest, AQueueAtThePrefillNodesSendsPromptsToTheDecodeNodesUnlessManyStreamsRunThere) {
  std::vector prefill = {Prefill(8000, 2000)};
  std::vector decode = {Computing(0, 500)};
  EXPECT_EQ(Decide(Auto(), Prompt(400), prefill, decode).reason, PlaceReason::kPrefillBusy);
  decode[0].sequences = 10;  // each of them would wait 0.8 s
  EXPECT_EQ(Decide(Auto(), Prompt(400), prefill, decode).reason, PlaceReason::kPrefillCheaper);
  SchedulePolicy policy = Auto();
  policy.interference = 0;
  EXPECT_EQ(Decide(policy, Prompt(400), prefill, decode).reason, PlaceReason::kPrefillBusy);
  policy.local_tokens_max = 399;
  EXPECT_EQ(Decide(policy, Prompt(400), prefill, decode).reason, PlaceReason::kLongPrompt);
}

TEST(SchedulerTest, WithoutPrefillNodesDecodeNodesServeAlone) {
  const std::vector decode = {Decode(1000, 3)};
  const Decision decision = Decide(Auto(), Prompt(5000), {}, decode);
  EXPECT_EQ(decision.reason, PlaceReason::kNoPrefillNode);
  EXPECT_EQ(decision.decode, 0u);
  EXPECT_LT(decision.ttft_s, 0);  // nothing is known of that node
  EXPECT_EQ(Decide(Always(), Prompt(5000), {}, decode).prefill, std::nullopt);
}

TEST(SchedulerTest, ADecodeNodeOfWhichNothingIsKnownIsMeasuredWithAShortPrompt) {
  const std::vector prefill = {Prefill(0, 2000)};
  const std::vector decode = {Decode(1000, 0)};
  EXPECT_EQ(Decide(Auto(), Prompt(kProbeTokens), prefill, decode).reason, PlaceReason::kProbe);
  const Decision decision = Decide(Auto(), Prompt(kProbeTokens + 1), prefill, decode);
  EXPECT_EQ(decision.reason, PlaceReason::kNotMeasured);
  EXPECT_EQ(decision.prefill, 0u);
}

TEST(SchedulerTest, OneTokenNeedsNoDecodeNode) {
  Placement placement = Prompt(100);
  placement.decodes = false;
  const Decision decision = Decide(Always(), placement, std::vector{Prefill(0, 1000)}, {});
  EXPECT_EQ(decision.prefill, 0u);
  EXPECT_EQ(decision.decode, std::nullopt);
  EXPECT_EQ(Decide(Always(), Prompt(100), std::vector{Prefill(0, 1000)}, {}).prefill, std::nullopt);
}

TEST(SchedulerTest, TheTimeBetweenTokensIsEstimatedForTheBatchWithThisSequence) {
  std::vector decode = {Decode(1000, 4)};
  decode[0].step = {0.001, 0.0005, true};
  const Decision decision = Decide(Always(), Prompt(10), std::vector{Prefill(0, 1000)}, decode);
  EXPECT_NEAR(decision.tpot_s, 0.001 + 0.0005 * (kStepBaseSequences + 5), 1e-9);
  EXPECT_NEAR(decision.ttft_s, 0.010, 1e-9);
}

TEST(SchedulerTest, ScoresStayBetweenZeroAndOneAndFallWithLoad) {
  double last = 1.1;
  for (const double wait : {0.0, 0.1, 10.0, 1e6}) {
    EXPECT_GT(QueueScore(wait), 0);
    EXPECT_LT(QueueScore(wait), last);
    last = QueueScore(wait);
  }
  EXPECT_EQ(FreeBlocksScore(5, 10, 100), 0);
  EXPECT_EQ(FreeBlocksScore(100, 0, 100), 1);
  EXPECT_EQ(FreeBlocksScore(0, 0, 0), 0);
  EXPECT_EQ(LatencyScore(0.5, 0.5), 1);
  EXPECT_NEAR(LatencyScore(2, 1), 0.5, 0.001);
  EXPECT_EQ(PrefixAffinityScore(50, 100), 0.5);
  EXPECT_EQ(PrefixAffinityScore(200, 100), 1);
  EXPECT_EQ(PrefixAffinityScore(0, 0), 0);
  EXPECT_EQ(SloHeadroomScore(1, 0), 1);
  EXPECT_EQ(SloHeadroomScore(1, 4), 0.75);
  EXPECT_EQ(SloHeadroomScore(5, 4), 0);
}

TEST(SchedulerTest, EveryReasonHasANameOfItsOwn) {
  std::set<std::string> names;
  for (size_t i = 0; i < kPlaceReasons; ++i) {
    names.insert(std::string(PlaceReasonName(static_cast<PlaceReason>(i))));
  }
  EXPECT_EQ(names.size(), kPlaceReasons);
  EXPECT_FALSE(IsLocal(PlaceReason::kNotMeasured));
  EXPECT_TRUE(IsLocal(PlaceReason::kProbe));
}

}  // namespace
}  // namespace baton::router
