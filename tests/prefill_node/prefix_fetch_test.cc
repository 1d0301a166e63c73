#include "prefill_node/prefix_fetch.h"

#include <gtest/gtest.h>

namespace baton::prefill_node {
namespace {

FetchFacts Facts() {
  return {.blocks_here = 2,
          .blocks_there = 10,
          .blocks_reusable = 12,
          .block_tokens = 32,
          .block_bytes = 1000000,
          .bytes_per_s = 1e8,    // eight blocks: 80 ms
          .tokens_per_s = 256};  // 256 tokens: a second
}

TEST(PrefixFetchTest, FetchesWhatIsFasterToMoveThanToCompute) {
  const FetchPlan plan = PlanFetch(Facts());
  EXPECT_EQ(plan.begin, 2);
  EXPECT_EQ(plan.end, 10);
  EXPECT_EQ(plan.timeout, absl::Seconds(1));
}

TEST(PrefixFetchTest, ComputesWhatIsFasterToComputeThanToMove) {
  FetchFacts facts = Facts();
  facts.tokens_per_s = 256 / 0.079;
  EXPECT_EQ(PlanFetch(facts).end, 0);
  facts.tokens_per_s = 256 / 0.081;
  EXPECT_EQ(PlanFetch(facts).end, 10);
  facts.bytes_per_s = 1;
  EXPECT_EQ(PlanFetch(facts).end, 0);
}

TEST(PrefixFetchTest, AnUnknownRateIsMeasuredByFetching) {
  FetchFacts facts = Facts();
  facts.bytes_per_s = 0;
  facts.tokens_per_s = 1e9;
  EXPECT_EQ(PlanFetch(facts).end, 10);
  EXPECT_EQ(PlanFetch(facts).timeout, absl::Milliseconds(200));
  facts.bytes_per_s = 1;
  facts.tokens_per_s = 0;
  EXPECT_EQ(PlanFetch(facts).end, 10);
}

TEST(PrefixFetchTest, NothingIsFetchedThatIsHereOrMustBeComputed) {
  FetchFacts facts = Facts();
  facts.blocks_here = 10;
  EXPECT_EQ(PlanFetch(facts).end, 0);
  facts = Facts();
  facts.blocks_reusable = 5;
  EXPECT_EQ(PlanFetch(facts).end, 5);
  facts.blocks_there = -7;
  EXPECT_EQ(PlanFetch(facts).end, 0);
}

}  // namespace
}  // namespace baton::prefill_node
