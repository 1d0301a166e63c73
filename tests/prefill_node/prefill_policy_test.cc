#include "prefill_node/prefill_policy.h"

#include "tests/engine/engine_fixture.h"
#include "tests/fakes/colocated_policy.h"

namespace baton::prefill_node {
namespace {

using engine::RandomPrompt;
using engine::Sequence;
using engine::StepPlan;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr int32_t kTokensPerBlock = 32;

class PrefillPolicyTest : public testing::Test {
 protected:
  Sequence* Add(int64_t length, int64_t computed = 0) {
    auto sequence = std::make_unique<Sequence>();
    sequence->tokens = RandomPrompt(length, 1);
    sequence->prompt_tokens = length;
    sequence->computed = computed;
    const int32_t blocks = kvcache::BlocksFor(computed, kTokensPerBlock);
    sequence->blocks.Append(pool_.Allocate(blocks, kvcache::BlockPool::Use::kUsed).value());
    all_.push_back(sequence.get());
    owned_.push_back(std::move(sequence));
    return all_.back();
  }
  // Which sequence (by order of arrival) gets how many tokens.
  std::vector<std::pair<int, int64_t>> Plan(int32_t free = 1000, int32_t step_tokens = 512) {
    const StepPlan plan = PrefillPolicy(step_tokens)
                              .Plan({.sequences = all_,
                                     .blocks_free = free,
                                     .block_tokens = kTokensPerBlock,
                                     .batch_tokens_max = 512});
    EXPECT_THAT(plan.preempt, IsEmpty());
    std::vector<std::pair<int, int64_t>> items;
    int64_t total = 0;
    for (const auto& item : plan.run) {
      const auto found = std::find(all_.begin(), all_.end(), item.sequence);
      items.emplace_back(found - all_.begin(), item.tokens);
      total += item.tokens;
      EXPECT_GE(item.tokens, 1);
      EXPECT_LE(item.tokens, item.sequence->uncomputed());
    }
    EXPECT_LE(total, step_tokens);
    return items;
  }

  kvcache::BlockPool pool_{1000};
  std::vector<std::unique_ptr<Sequence>> owned_;
  std::vector<Sequence*> all_;
};

TEST_F(PrefillPolicyTest, NothingToDoIsAnEmptyPlan) { EXPECT_THAT(Plan(), IsEmpty()); }

TEST_F(PrefillPolicyTest, AShortPromptRunsWhole) {
  Add(45);
  EXPECT_THAT(Plan(), ElementsAre(Pair(0, 45)));
}

TEST_F(PrefillPolicyTest, ALongPromptTakesTheWholeStepAlone) {
  Add(2000);
  EXPECT_THAT(Plan(), ElementsAre(Pair(0, 512)));
}

TEST_F(PrefillPolicyTest, ChunksEndWhereBlocksEnd) {
  Add(2000);
  EXPECT_THAT(Plan(1000, 100), ElementsAre(Pair(0, 96)));
  Add(40);
  EXPECT_THAT(Plan(1000, 100), ElementsAre(Pair(0, 32), Pair(1, 40)));
}

TEST_F(PrefillPolicyTest, AShortPromptDoesNotWaitForALongOne) {
  Add(2000);
  Add(20);
  EXPECT_THAT(Plan(), ElementsAre(Pair(0, 480), Pair(1, 20)));
}

TEST_F(PrefillPolicyTest, UpToFourPromptsShareAStepAndTheEarliestGetsTheRest) {
  for (int i = 0; i < 6; ++i) Add(2000);
  EXPECT_THAT(Plan(), ElementsAre(Pair(0, 128), Pair(1, 128), Pair(2, 128), Pair(3, 128)));
  owned_[2]->tokens.resize(30);
  EXPECT_THAT(Plan(), ElementsAre(Pair(0, 224), Pair(1, 128), Pair(2, 30), Pair(3, 128)));
}

TEST_F(PrefillPolicyTest, APromptStartsOnlyWhenThePoolHoldsAllOfIt) {
  Add(320);  // ten blocks
  EXPECT_THAT(Plan(9), IsEmpty());
  EXPECT_THAT(Plan(10), ElementsAre(Pair(0, 320)));
}

TEST_F(PrefillPolicyTest, PromptsUnderWayKeepTheRightToTheirBlocks) {
  Add(320, 64);  // eight more
  Add(64);
  EXPECT_THAT(Plan(8), ElementsAre(Pair(0, 256)));
  EXPECT_THAT(Plan(9), ElementsAre(Pair(0, 256)));
  EXPECT_THAT(Plan(10), ElementsAre(Pair(0, 256), Pair(1, 64)));
}

TEST_F(PrefillPolicyTest, NobodyOvertakesAPromptThatWaitsForBlocks) {
  Add(3200);
  Add(10);
  EXPECT_THAT(Plan(50), IsEmpty());
}

TEST_F(PrefillPolicyTest, AStepSmallerThanABlockStillMakesProgress) {
  Sequence* sequence = Add(40);
  for (const int64_t expected : {16, 16, 8}) {
    EXPECT_THAT(Plan(1000, 16), ElementsAre(Pair(0, expected)));
    sequence->computed += expected;
  }
}

TEST(PrefillPolicyEngineTest, EveryPromptGetsItsColocatedFirstToken) {
  std::vector<engine::Request> requests;
  for (int i = 0; i < 20; ++i) {
    requests.push_back(engine::RequestOf(1 + i * 37 % 300, 5, 40 + i));
    requests.back().first_token_only = true;
  }
  fakes::ColocatedPolicy colocated(64, 1024);
  engine::EngineBench alone(colocated, 64);
  alone.engine.Start();
  for (const int32_t step_tokens : {8, 16, 40, 64}) {
    PrefillPolicy policy(step_tokens);
    engine::EngineBench bench(policy, 20);
    std::vector<std::shared_ptr<engine::RecordingListener>> listeners;
    for (const auto& request : requests) listeners.push_back(bench.Submit(request).value());
    bench.engine.Start();
    for (size_t i = 0; i < requests.size(); ++i) {
      ASSERT_TRUE(listeners[i]->WaitForEnd().ok()) << listeners[i]->WaitForEnd();
      EXPECT_EQ(listeners[i]->ids(), alone.Run(requests[i], engine::FinishReason::kNone));
    }
    EXPECT_TRUE(bench.AllFree());
  }
}

}  // namespace
}  // namespace baton::prefill_node
