#include "decode_node/decode_policy.h"

#include "tests/engine/engine_fixture.h"
#include "tests/fakes/colocated_policy.h"

namespace baton::decode_node {
namespace {

using engine::EngineBench;
using engine::RandomPrompt;
using engine::Request;
using engine::RequestOf;
using engine::Sequence;
using engine::StepPlan;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr int32_t kTokensPerBlock = 16;

class DecodePolicyTest : public testing::Test {
 protected:
  // A sequence with `computed` of `length` tokens computed and just the blocks for those.
  Sequence* Add(int64_t length, int64_t computed) {
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
  Sequence* AddRunning(int64_t length) { return Add(length, length - 1); }
  StepPlan Plan(int32_t free, int32_t batch_tokens_max = 128, int32_t batch_max = 8) {
    return DecodePolicy(batch_max).Plan({.sequences = all_,
                                         .blocks_free = free,
                                         .block_tokens = kTokensPerBlock,
                                         .batch_tokens_max = batch_tokens_max});
  }
  static std::vector<Sequence*> Running(const StepPlan& plan) {
    std::vector<Sequence*> running;
    for (const auto& item : plan.run) running.push_back(item.sequence);
    return running;
  }

  kvcache::BlockPool pool_{100};
  std::vector<std::unique_ptr<Sequence>> owned_;
  std::vector<Sequence*> all_;
};

TEST_F(DecodePolicyTest, EveryRunningSequenceGetsOneToken) {
  Sequence* a = AddRunning(5);
  Sequence* b = AddRunning(30);
  const StepPlan plan = Plan(10);
  EXPECT_THAT(Running(plan), ElementsAre(a, b));
  for (const auto& item : plan.run) EXPECT_EQ(item.tokens, 1);
  EXPECT_THAT(plan.preempt, IsEmpty());
}

TEST_F(DecodePolicyTest, AtMostBatchMaxSequencesAndBatchTokensRunInOrderOfArrival) {
  for (int i = 0; i < 5; ++i) AddRunning(5 + i);
  EXPECT_THAT(Running(Plan(10, 128, 2)), ElementsAre(all_[0], all_[1]));
  EXPECT_THAT(Running(Plan(10, 3, 8)), ElementsAre(all_[0], all_[1], all_[2]));
}

TEST_F(DecodePolicyTest, TheLatestArrivalGivesItsBlocksUp) {
  Sequence* a = AddRunning(33);  // needs its third block
  Sequence* b = AddRunning(20);
  Sequence* c = AddRunning(20);
  const StepPlan plan = Plan(0);
  EXPECT_THAT(plan.preempt, ElementsAre(c));
  EXPECT_THAT(Running(plan), ElementsAre(a, b));
}

TEST_F(DecodePolicyTest, AnEarlierArrivalNeverGivesWayToALaterOne) {
  Sequence* a = AddRunning(20);
  AddRunning(33);
  const StepPlan plan = Plan(0);
  EXPECT_THAT(plan.preempt, IsEmpty());
  EXPECT_THAT(Running(plan), ElementsAre(a));
}

TEST_F(DecodePolicyTest, NobodyIsPreemptedWhereThatWouldNotBeEnough) {
  Sequence* fresh = Add(100, 0);  // lost seven blocks before
  Sequence* later = AddRunning(20);
  EXPECT_THAT(Plan(4).preempt, IsEmpty());
  EXPECT_THAT(Plan(5).preempt, ElementsAre(later));
  EXPECT_THAT(Running(Plan(5)), ElementsAre(fresh));
}

TEST_F(DecodePolicyTest, APreemptedSequenceStartsAgainOnlyWithRoomForAllOfIt) {
  Sequence* running = AddRunning(20);
  Sequence* preempted = Add(47, 0);  // and one more: three blocks
  EXPECT_THAT(Running(Plan(2)), ElementsAre(running));
  EXPECT_THAT(Running(Plan(3)), ElementsAre(running, preempted));
  owned_.back()->tokens.push_back(5);  // 48, and one more: four
  EXPECT_THAT(Running(Plan(3)), ElementsAre(running));
}

TEST_F(DecodePolicyTest, NobodyOvertakesAPreemptedSequence) {
  Sequence* running = AddRunning(20);
  Add(500, 0);
  Add(5, 0);
  EXPECT_THAT(Running(Plan(10)), ElementsAre(running));
}

TEST_F(DecodePolicyTest, RecomputationComesInSmallChunksBesideTheOthers) {
  Sequence* running = AddRunning(20);
  Sequence* first = Add(200, 0);
  Add(200, 0);
  const StepPlan plan = Plan(90);
  ASSERT_EQ(plan.run.size(), 2u);
  EXPECT_EQ(plan.run[0].sequence, running);
  EXPECT_EQ(plan.run[1].sequence, first);
  EXPECT_EQ(plan.run[1].tokens, 64);
}

TEST_F(DecodePolicyTest, AChunkTakesTheWholeStepWhereNobodyDecodes) {
  Sequence* first = Add(200, 0);
  StepPlan plan = Plan(90);
  ASSERT_EQ(plan.run.size(), 1u);
  EXPECT_EQ(plan.run[0].tokens, 128);
  first->computed = 64;
  first->blocks.Append(pool_.Allocate(4, kvcache::BlockPool::Use::kUsed).value());
  EXPECT_EQ(Plan(90).run[0].tokens, 128);
  Sequence* running = AddRunning(20);
  plan = Plan(90);
  ASSERT_EQ(plan.run.size(), 2u);
  EXPECT_EQ(plan.run[0].tokens, 64);
  EXPECT_EQ(plan.run[1].sequence, running);
}

Request LongRequest(int i) {
  Request request = RequestOf(10 + 7 * i, 60 + 5 * i, 300 + i);
  if (i % 2 == 0) request.sampling.frequency_penalty = 0.5;
  return request;
}

TEST(DecodePolicyEngineTest, PreemptionChangesNoTokenAndEveryoneFinishes) {
  constexpr int kRequests = 10;
  std::vector<std::vector<int32_t>> expected;
  {
    fakes::ColocatedPolicy policy(64, 1024);
    EngineBench bench(policy, 64);
    bench.engine.Start();
    for (int i = 0; i < kRequests; ++i) expected.push_back(bench.Run(LongRequest(i)));
  }
  // All of them together would take 83 blocks.
  for (const auto& [blocks, prefix_cache] :
       {std::pair{12, false}, {17, false}, {30, false}, {12, true}, {17, true}, {33, true}}) {
    DecodePolicy policy(8);
    EngineBench bench(policy, blocks, 256, 64, 1024, prefix_cache);
    std::vector<std::shared_ptr<engine::RecordingListener>> listeners;
    for (int i = 0; i < kRequests; ++i) listeners.push_back(bench.Submit(LongRequest(i)).value());
    bench.engine.Start();
    int preemptions = 0;
    for (int i = 0; i < kRequests; ++i) {
      ASSERT_TRUE(listeners[i]->WaitForEnd().ok()) << listeners[i]->WaitForEnd();
      EXPECT_EQ(listeners[i]->ids(), expected[i]) << "request " << i << ", " << blocks << " blocks";
      preemptions += listeners[i]->preemptions();
    }
    EXPECT_GT(preemptions, 0) << blocks;
    EXPECT_TRUE(bench.AllFree());
    EXPECT_EQ(bench.engine.stats().preempted, 0);
  }
}

// What a preempted sequence had computed comes back from the cache, as far as nobody took it.
TEST(DecodePolicyEngineTest, PreemptedSequencesComputeLessAgainWithACache) {
  int64_t computed[2];
  for (const bool prefix_cache : {false, true}) {
    DecodePolicy policy(8);
    EngineBench bench(policy, 17, 256, 64, 1024, prefix_cache);
    std::vector<std::shared_ptr<engine::RecordingListener>> listeners;
    for (int i = 0; i < 10; ++i) listeners.push_back(bench.Submit(LongRequest(i)).value());
    bench.engine.Start();
    for (const auto& listener : listeners) ASSERT_TRUE(listener->WaitForEnd().ok());
    bench.engine.Stop();
    computed[prefix_cache] = bench.engine.stats().tokens_computed;
  }
  EXPECT_LT(computed[true], computed[false]);
}

// A hand-over that was leased before the preemption may commit after it: its sequence holds blocks
// behind one that waits for them.
TEST(DecodePolicyEngineTest, APreemptedSequenceDoesNotStarveBehindALaterOneWithBlocks) {
  DecodePolicy policy(8);
  EngineBench bench(policy, 10);
  const auto waiting = bench.Submit(RequestOf(140, 10)).value();  // ten blocks with its output
  auto later = std::make_unique<Sequence>();
  later->id = 77;
  later->tokens = RandomPrompt(40, 9);
  later->prompt_tokens = 40;
  later->stop.max_tokens = 5;
  later->stop.ignore_eos = true;
  later->blocks.Append(bench.pool.Allocate(3, kvcache::BlockPool::Use::kUsed).value());
  const auto listener = std::make_shared<engine::RecordingListener>();
  later->listener = listener;
  ASSERT_TRUE(bench.engine.Submit(std::move(later)).ok());
  bench.engine.Start();
  EXPECT_TRUE(waiting->WaitForEnd().ok());
  EXPECT_TRUE(listener->WaitForEnd().ok());
  EXPECT_TRUE(bench.AllFree());
}

TEST(DecodePolicyEngineTest, APreemptedCountDoesNotOutliveItsSequences) {
  DecodePolicy policy(8);
  EngineBench bench(policy, 12);
  std::vector<std::shared_ptr<engine::RecordingListener>> listeners;
  for (int i = 0; i < 6; ++i) listeners.push_back(bench.Submit(RequestOf(30, 150, i)).value());
  bench.engine.Start();
  for (int i = 0; i < 10000 && bench.engine.stats().preempted == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  for (uint64_t id = 1; id <= 6; ++id) bench.engine.Cancel(id);
  for (const auto& listener : listeners) (void)listener->WaitForEnd();
  for (int i = 0; i < 1000 && bench.engine.stats().preempted > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(bench.engine.stats().preempted, 0);
  EXPECT_EQ(bench.engine.stats().tokens_queued, 0);
}

// Blocks that others hold for a while (leases) only delay.
TEST(DecodePolicyEngineTest, WaitsForBlocksThatAreLeased) {
  DecodePolicy policy(8);
  EngineBench bench(policy, 10);
  auto leased = bench.pool.Allocate(9, kvcache::BlockPool::Use::kLeased).value();
  bench.engine.Start();
  const auto listener = bench.Submit(RequestOf(30, 40)).value();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(listener->ends(), 0);
  leased.clear();
  EXPECT_TRUE(listener->WaitForEnd().ok());
  EXPECT_EQ(listener->ids().size(), 40u);
}

}  // namespace
}  // namespace baton::decode_node
