#include "engine/engine.h"

#include <thread>

#include "tests/engine/engine_fixture.h"
#include "tests/fakes/colocated_policy.h"

namespace baton::engine {
namespace {

using absl::StatusCode;
using fakes::ColocatedPolicy;
using testing::ElementsAre;
using testing::HasSubstr;

class EngineTest : public testing::Test {
 protected:
  ColocatedPolicy policy_{64, 1024};
  EngineBench bench_{policy_, 64};
};

TEST_F(EngineTest, EndsAtMaxTokens) {
  bench_.engine.Start();
  EXPECT_EQ(bench_.Run(RequestOf(5, 1)).size(), 1u);
  EXPECT_EQ(bench_.Run(RequestOf(70, 9)).size(), 9u);
  EXPECT_TRUE(bench_.AllFree());
}

TEST_F(EngineTest, EndsAtAnEndTokenUnlessThatIsIgnored) {
  bench_.engine.Start();
  Request request = RequestOf(5, 6);
  AlwaysDraw(kEos, &request);
  EXPECT_THAT(bench_.Run(request), ElementsAre(1, 1, 1, 1, 1, 1));
  request.stop.ignore_eos = false;
  EXPECT_THAT(bench_.Run(request, FinishReason::kStop), ElementsAre(kEos));
}

TEST_F(EngineTest, EndsAtAStopIdAlsoWhenEndTokensAreIgnored) {
  bench_.engine.Start();
  Request request = RequestOf(5, 6);
  AlwaysDraw(40, &request);
  request.stop.stop_token_ids = {39, 40};
  EXPECT_THAT(bench_.Run(request, FinishReason::kStop), ElementsAre(40));
}

TEST_F(EngineTest, DrawsNoEndTokenBeforeMinTokens) {
  bench_.engine.Start();
  Request request = RequestOf(5, 10);
  AlwaysDraw(kEos, &request);
  request.stop.ignore_eos = false;
  request.stop.min_tokens = 4;
  const std::vector<int32_t> ids = bench_.Run(request, FinishReason::kStop);
  ASSERT_EQ(ids.size(), 5u);
  for (int i = 0; i < 4; ++i) EXPECT_NE(ids[i], kEos);
  EXPECT_EQ(ids[4], kEos);
}

TEST_F(EngineTest, EndsAtTheContextsEnd) {
  ColocatedPolicy policy(64, 40);
  EngineBench bench(policy, 8, 256, 64, 40);
  bench.engine.Start();
  EXPECT_EQ(bench.Run(RequestOf(33, 100)).size(), 7u);
  EXPECT_EQ(bench.Run(RequestOf(39, 100)).size(), 1u);
}

TEST_F(EngineTest, AFirstTokenOnlySequenceEndsWithoutAReason) {
  bench_.engine.Start();
  Request request = RequestOf(5, 10);
  request.first_token_only = true;
  EXPECT_EQ(bench_.Run(request, FinishReason::kNone).size(), 1u);
  request.stop.max_tokens = 1;
  EXPECT_EQ(bench_.Run(request, FinishReason::kLength).size(), 1u);
}

TEST_F(EngineTest, AResumedSequenceCountsItsEarlierOutput) {
  bench_.engine.Start();
  const std::vector<int32_t> all = bench_.Run(RequestOf(20, 8));
  auto sequence = std::make_unique<Sequence>();
  sequence->tokens = RequestOf(20, 8).prompt;
  sequence->tokens.insert(sequence->tokens.end(), all.begin(), all.begin() + 3);
  sequence->prompt_tokens = 23;
  sequence->first_index = 3;
  sequence->sampling = RequestOf(20, 8).sampling;
  sequence->stop = RequestOf(20, 8).stop;
  const auto listener = std::make_shared<RecordingListener>();
  sequence->listener = listener;
  ASSERT_TRUE(bench_.engine.Submit(std::move(sequence)).ok());
  ASSERT_TRUE(listener->WaitForEnd().ok());
  EXPECT_EQ(listener->ids(), std::vector<int32_t>(all.begin() + 3, all.end()));
}

TEST_F(EngineTest, NeitherChunksNorCompanyChangeTheOutput) {
  std::vector<Request> requests;
  for (int i = 0; i < 12; ++i) requests.push_back(RequestOf(1 + i * 17 % 130, 3 + i % 9, 50 + i));
  requests[3].sampling.temperature = 0;
  requests[5].sampling.frequency_penalty = 1.5;
  requests[7].sampling.top_p = 0.5;
  std::vector<std::vector<int32_t>> alone;
  bench_.engine.Start();
  for (const Request& request : requests) alone.push_back(bench_.Run(request));
  for (const int64_t chunk : {1, 7, 16, 64}) {
    ColocatedPolicy policy(chunk, 1024);
    EngineBench bench(policy, 40);
    std::vector<std::shared_ptr<RecordingListener>> listeners;
    for (const Request& request : requests) listeners.push_back(bench.Submit(request).value());
    bench.engine.Start();
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_TRUE(listeners[i]->WaitForEnd().ok()) << listeners[i]->WaitForEnd();
      EXPECT_EQ(listeners[i]->ids(), alone[i]) << "request " << i << ", chunks of " << chunk;
    }
    EXPECT_TRUE(bench.AllFree());
  }
}

TEST_F(EngineTest, EveryLayerOfEveryTokenIsReportedOnceAndInOrder) {
  ColocatedPolicy policy(16, 1024);
  EngineBench bench(policy, 64);
  bench.engine.Start();
  const auto listener = bench.Submit(RequestOf(37, 2)).value();
  ASSERT_TRUE(listener->WaitForEnd().ok());
  int64_t next[2] = {0, 0};
  for (const auto& written : listener->layers()) {
    EXPECT_EQ(written.begin, next[written.layer]);
    next[written.layer] = written.end;
  }
  EXPECT_THAT(next, ElementsAre(38, 38));  // the last token drawn is never computed
  EXPECT_EQ(listener->starts(), 1);
  EXPECT_EQ(listener->ends(), 1);
}

TEST_F(EngineTest, CancelBeforeTheFirstStepGivesEverythingBack) {
  const auto listener = bench_.Submit(RequestOf(100, 5)).value();
  bench_.engine.Cancel(1);
  bench_.engine.Start();
  EXPECT_EQ(listener->WaitForEnd().code(), StatusCode::kCancelled);
  EXPECT_EQ(listener->starts(), 0);
  EXPECT_TRUE(bench_.AllFree());
}

TEST_F(EngineTest, CancelDuringThePromptGivesItsBlocksBack) {
  Gate gate;
  bench_.model.before_forward = [&](const auto&) { return gate.Pass(); };
  bench_.engine.Start();
  const auto listener = bench_.Submit(RequestOf(200, 5)).value();  // four steps
  gate.WaitForArrival();
  EXPECT_FALSE(bench_.AllFree());
  bench_.engine.Cancel(1);
  gate.Open();
  EXPECT_EQ(listener->WaitForEnd().code(), StatusCode::kCancelled);
  EXPECT_TRUE(listener->ids().empty());
  EXPECT_TRUE(bench_.AllFree());
}

TEST_F(EngineTest, CancelDuringDecodeGivesItsBlocksBackAndLeavesOthersAlone) {
  const std::vector<int32_t> expected = [&] {
    ColocatedPolicy policy(64, 1024);
    EngineBench bench(policy, 64);
    bench.engine.Start();
    return bench.Run(RequestOf(10, 200, 3));
  }();
  Gate gate;
  bench_.model.before_forward = [&](const models::ForwardBatch& batch) {
    return batch.sequences[0].position < 15 ? absl::OkStatus() : gate.Pass();
  };
  bench_.engine.Start();
  const auto victim = bench_.Submit(RequestOf(10, 500)).value();
  const auto other = bench_.Submit(RequestOf(10, 200, 3)).value();
  gate.WaitForArrival();
  EXPECT_GE(victim->ids().size(), 3u);
  bench_.engine.Cancel(1);
  bench_.engine.Cancel(1);
  bench_.engine.Cancel(999);
  gate.Open();
  EXPECT_EQ(victim->WaitForEnd().code(), StatusCode::kCancelled);
  ASSERT_TRUE(other->WaitForEnd().ok());
  EXPECT_EQ(other->ids(), expected);
  EXPECT_EQ(victim->ends(), 1);
  EXPECT_TRUE(bench_.AllFree());
}

TEST_F(EngineTest, TheQueueHasALimitThatEndedSequencesFree) {
  EngineBench bench(policy_, 64, /*queue_max=*/2);
  const auto first = bench.Submit(RequestOf(5, 2)).value();
  const auto second = bench.Submit(RequestOf(5, 2)).value();
  const auto third = bench.Submit(RequestOf(5, 2));
  EXPECT_EQ(third.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(third.status().message()), HasSubstr("2 sequences queued, limit 2"));
  bench.engine.Start();
  ASSERT_TRUE(first->WaitForEnd().ok());
  ASSERT_TRUE(second->WaitForEnd().ok());
  EXPECT_EQ(bench.Run(RequestOf(5, 2)).size(), 2u);
}

TEST_F(EngineTest, ASequenceThatCanNeverFitIsRefused) {
  EngineBench bench(policy_, 4);
  const auto refused = bench.Submit(RequestOf(60, 10));
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("5 blocks, the pool has 4"));
  bench.engine.Start();
  EXPECT_EQ(bench.Run(RequestOf(60, 4)).size(), 4u);
}

TEST_F(EngineTest, AFailedStepEndsOnlyItsSequences) {
  bench_.model.before_forward = [](const models::ForwardBatch& batch) {
    for (const auto& s : batch.sequences) {
      if (s.tokens.back() == 63 && s.position == 0) return absl::InternalError("broken step");
    }
    return absl::OkStatus();
  };
  bench_.engine.Start();
  Request broken = RequestOf(5, 50);
  broken.prompt.back() = 63;
  Request fine = RequestOf(5, 50, 8);
  fine.prompt.back() = 3;
  const auto first = bench_.Submit(broken).value();
  EXPECT_EQ(first->WaitForEnd(), absl::InternalError("broken step"));
  EXPECT_EQ(bench_.Run(fine).size(), 50u);
  EXPECT_TRUE(bench_.AllFree());
  bench_.engine.Stop();  // the end of a sequence is told before it is counted
  EXPECT_EQ(bench_.engine.stats().tokens_queued, 0);
}

TEST_F(EngineTest, LogitsThatAreNoNumbersEndOnlyTheirSequence) {
  bench_.model.poison_token = 63;
  Request poisoned = RequestOf(5, 9);
  poisoned.prompt.back() = 63;
  Request fine = RequestOf(5, 9, 4);
  fine.prompt.back() = 3;
  fine.sampling.logit_bias = {{63, -100}};
  const auto bad = bench_.Submit(poisoned).value();
  const auto good = bench_.Submit(fine).value();  // in the same step
  bench_.engine.Start();
  const absl::Status status = bad->WaitForEnd();
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("logit 0"));
  EXPECT_TRUE(good->WaitForEnd().ok());
  EXPECT_EQ(good->ids().size(), 9u);
  EXPECT_TRUE(bench_.AllFree());
}

TEST_F(EngineTest, StopEndsEverySequenceAndRefusesMore) {
  bench_.model.before_forward = [](const auto&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return absl::OkStatus();
  };
  bench_.engine.Start();
  const auto running = bench_.Submit(RequestOf(5, 1000)).value();
  ASSERT_TRUE(running->WaitForTokens(1));
  const auto waiting = bench_.Submit(RequestOf(900, 100)).value();
  bench_.engine.Stop();
  EXPECT_EQ(running->WaitForEnd().code(), StatusCode::kCancelled);
  EXPECT_EQ(waiting->WaitForEnd().code(), StatusCode::kCancelled);
  EXPECT_TRUE(bench_.AllFree());
  EXPECT_EQ(bench_.Submit(RequestOf(5, 5)).status().code(), StatusCode::kUnavailable);
}

TEST_F(EngineTest, StatsCountWhatRunsWaitsAndWasDone) {
  EngineStats stats = bench_.engine.stats();
  EXPECT_EQ(stats.waiting, 0);
  const auto listener = bench_.Submit(RequestOf(100, 5)).value();
  stats = bench_.engine.stats();
  EXPECT_EQ(stats.waiting, 1);
  EXPECT_EQ(stats.tokens_queued, 100);
  bench_.engine.Start();
  ASSERT_TRUE(listener->WaitForEnd().ok());
  bench_.engine.Stop();
  stats = bench_.engine.stats();
  EXPECT_EQ(stats.tokens_computed, 104);
  EXPECT_EQ(stats.tokens_drawn, 5);
  EXPECT_EQ(stats.tokens_queued, 0);
  EXPECT_GT(stats.tokens_per_s, 0);
  EXPECT_GT(stats.step_seconds, 0);
}

TEST_F(EngineTest, ManyThreadsMaySubmitAndCancel) {
  bench_.engine.Start();
  std::vector<std::thread> threads;
  Mutex mutex;
  std::vector<std::shared_ptr<RecordingListener>> listeners;
  std::atomic<uint64_t> id{1};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        auto sequence = std::make_unique<Sequence>();
        const uint64_t mine = id++;
        sequence->id = mine;
        sequence->tokens = RandomPrompt(1 + i, t);
        sequence->prompt_tokens = 1 + i;
        sequence->stop.max_tokens = 20;
        const auto listener = std::make_shared<RecordingListener>();
        sequence->listener = listener;
        if (!bench_.engine.Submit(std::move(sequence)).ok()) continue;
        if (i % 3 == 0) bench_.engine.Cancel(mine);
        bench_.engine.stats();
        MutexLock lock(mutex);
        listeners.push_back(listener);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& listener : listeners) {
    const absl::Status status = listener->WaitForEnd();
    EXPECT_TRUE(status.ok() || status.code() == StatusCode::kCancelled) << status;
    EXPECT_EQ(listener->ends(), 1);
  }
  EXPECT_EQ(listeners.size(), 100u);
  EXPECT_TRUE(bench_.AllFree());
}

TEST_F(EngineTest, TellsWhileItsThreadIsStuckInAStep) {
  Gate gate;
  bench_.model.before_forward = [&](const auto&) { return gate.Pass(); };
  bench_.engine.Start();
  EXPECT_EQ(bench_.engine.stalled_for(), absl::ZeroDuration());
  const auto listener = bench_.Submit(RequestOf(1, 1)).value();
  gate.WaitForArrival();
  for (int i = 0; i < 2000 && bench_.engine.stalled_for() < absl::Milliseconds(20); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_GE(bench_.engine.stalled_for(), absl::Milliseconds(20));
  gate.Open();
  EXPECT_TRUE(listener->WaitForEnd().ok());
  for (int i = 0; i < 2000 && bench_.engine.stalled_for() > absl::ZeroDuration(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(bench_.engine.stalled_for(), absl::ZeroDuration());
}

TEST(Progress, IsLateOnlyBeyondWhatItsTokensMayTake) {
  ManualClock clock;
  Progress progress(clock);
  progress.Moved();
  clock.Advance(absl::Seconds(2));
  EXPECT_EQ(progress.late(), absl::Seconds(2));
  progress.Moved(512);
  clock.Advance(512 * Progress::kPerToken);
  EXPECT_EQ(progress.late(), absl::ZeroDuration());
  clock.Advance(absl::Seconds(1));
  EXPECT_EQ(progress.late(), absl::Seconds(1));
}

}  // namespace
}  // namespace baton::engine
