#include "engine/prefix_reuse.h"

#include "tests/engine/engine_fixture.h"
#include "tests/fakes/colocated_policy.h"

namespace baton::engine {
namespace {

using fakes::ColocatedPolicy;

// A bench whose engine reuses prefixes.
struct WarmBench : EngineBench {
  explicit WarmBench(BatchPolicy& policy, int32_t blocks = 64)
      : EngineBench(policy, blocks, 256, 64, 1024, /*prefix_cache=*/true) {}
  // Tokens that were computed for `request`, and its output.
  int64_t Computed(const Request& request, std::vector<int32_t>* ids = nullptr) {
    const int64_t before = engine.stats().tokens_computed;
    const std::vector<int32_t> output = Run(request);
    if (ids != nullptr) *ids = output;
    return engine.stats().tokens_computed - before;
  }
};

std::vector<int32_t> Cold(const Request& request) {
  ColocatedPolicy policy(64, 1024);
  EngineBench bench(policy, 64);
  bench.engine.Start();
  return bench.Run(request);
}

// The conversation goes on: prompt and answer, then `more` tokens.
Request NextTurn(const Request& request, const std::vector<int32_t>& answer, int64_t more,
                 uint64_t seed) {
  Request next = request;
  next.prompt.insert(next.prompt.end(), answer.begin(), answer.end());
  const std::vector<int32_t> question = RandomPrompt(more, seed);
  next.prompt.insert(next.prompt.end(), question.begin(), question.end());
  return next;
}

TEST(PrefixReuseTest, WarmOutputIsColdOutputWhateverTheChunks) {
  for (const int64_t chunk : {1, 7, 16, 64}) {
    ColocatedPolicy policy(chunk, 1024);
    WarmBench bench(policy, 40);
    bench.engine.Start();
    for (const int64_t length : {1, 15, 16, 17, 32, 33, 100}) {
      Request request = RequestOf(length, 20, 3);
      const std::vector<int32_t> cold = Cold(request);
      for (int turn = 0; turn < 2; ++turn) {
        EXPECT_EQ(bench.Run(request), cold) << length << " tokens, chunks of " << chunk;
      }
    }
    EXPECT_GT(bench.engine.stats().tokens_cached, 0);
    EXPECT_TRUE(bench.AllFree());
  }
}

TEST(PrefixReuseTest, TheLastTokenIsAlwaysComputed) {
  ColocatedPolicy policy(64, 1024);
  WarmBench bench(policy);
  bench.engine.Start();
  EXPECT_EQ(bench.Computed(RequestOf(64, 1)), 64);
  EXPECT_EQ(bench.Computed(RequestOf(64, 1)), 16);  // its last block
  EXPECT_EQ(bench.Computed(RequestOf(65, 1)), 1);
}

TEST(PrefixReuseTest, TheSecondTurnComputesOnlyWhatIsNew) {
  ColocatedPolicy policy(64, 1024);
  WarmBench bench(policy);
  bench.engine.Start();
  const Request first = RequestOf(70, 30, 5);
  std::vector<int32_t> answer;
  EXPECT_EQ(bench.Computed(first, &answer), 99);
  const Request second = NextTurn(first, answer, 20, 6);  // 120 tokens, 99 of them computed before
  EXPECT_EQ(Cold(second), bench.Run(second));
  EXPECT_EQ(bench.engine.stats().tokens_cached, 96);
}

TEST(PrefixReuseTest, DifferentSaltsComputeForThemselves) {
  ColocatedPolicy policy(64, 1024);
  WarmBench bench(policy);
  bench.engine.Start();
  Request request = RequestOf(100, 5);
  request.cache_salt = "alice";
  const int64_t cold = bench.Computed(request);
  request.cache_salt = "bob";
  EXPECT_EQ(bench.Computed(request), cold);
  request.cache_salt = "alice";
  EXPECT_EQ(bench.Computed(request), cold - 96);
}

// The choices of one request arrive together and differ in their seeds.
TEST(PrefixReuseTest, ChoicesOfOnePromptComputeItOnce) {
  ColocatedPolicy policy(64, 1024);
  WarmBench bench(policy);
  std::vector<Request> choices(4, RequestOf(200, 6));
  std::vector<std::shared_ptr<RecordingListener>> listeners;
  for (size_t i = 0; i < choices.size(); ++i) {
    choices[i].sampling.seed = 70 + i;
    listeners.push_back(bench.Submit(choices[i]).value());
  }
  const auto other = bench.Submit(RequestOf(40, 3, 9)).value();
  bench.engine.Start();
  for (size_t i = 0; i < choices.size(); ++i) {
    ASSERT_TRUE(listeners[i]->WaitForEnd().ok());
    EXPECT_EQ(listeners[i]->ids(), Cold(choices[i])) << "choice " << i;
  }
  ASSERT_TRUE(other->WaitForEnd().ok());
  // The prompt once; its rest after the last full block, and the output, once a choice.
  EXPECT_EQ(bench.engine.stats().tokens_computed, 192 + 4 * (8 + 5) + 40 + 2);
  EXPECT_EQ(bench.engine.stats().tokens_cached, 3 * 192);
}

TEST(PrefixReuseTest, ACancelledFirstChoiceHoldsNobodyUp) {
  ColocatedPolicy policy(16, 1024);
  WarmBench bench(policy);
  Gate gate;
  bench.model.before_forward = [&](const auto&) { return gate.Pass(); };
  const auto first = bench.Submit(RequestOf(200, 6)).value();
  const auto second = bench.Submit(RequestOf(200, 6)).value();
  bench.engine.Start();
  gate.WaitForArrival();
  bench.engine.Cancel(1);
  gate.Open();
  EXPECT_FALSE(first->WaitForEnd().ok());
  ASSERT_TRUE(second->WaitForEnd().ok());
  EXPECT_EQ(second->ids(), Cold(RequestOf(200, 6)));
}

// Many conversations with a common beginning over a pool that holds few of them.
TEST(PrefixReuseTest, EvictionsChangeNoOutput) {
  ColocatedPolicy policy(32, 1024);
  WarmBench bench(policy, 20);
  bench.engine.Start();
  const std::vector<int32_t> system = RandomPrompt(64, 1);
  for (uint64_t i = 0; i < 24; ++i) {
    Request request = RequestOf(0, 12, i % 7);
    request.prompt = system;
    const std::vector<int32_t> question = RandomPrompt(5 + 11 * (i % 7), i % 7);
    request.prompt.insert(request.prompt.end(), question.begin(), question.end());
    EXPECT_EQ(bench.Run(request), Cold(request)) << i;
  }
  EXPECT_GE(bench.engine.stats().tokens_cached, 20 * 64);
  EXPECT_TRUE(bench.AllFree());
  EXPECT_EQ(bench.cache.stats().collisions, 0);
}

}  // namespace
}  // namespace baton::engine
