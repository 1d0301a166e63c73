#include "engine/prompt_reading.h"

#include <atomic>
#include <cmath>

#include "tests/engine/engine_fixture.h"
#include "tests/fakes/colocated_policy.h"

namespace baton::engine {
namespace {

using fakes::ColocatedPolicy;

constexpr int64_t kContext = 1024;

Request Scored(Request request, int32_t top) {
  request.reading.logprobs = top;
  return request;
}
Request Embedded(Request request, Pooling pooling) {
  request.reading.pooling = pooling;
  return request;
}

// Every row of the prompt, straight from the model: logits, or hidden states.
std::vector<std::vector<float>> RowsOf(const std::vector<int32_t>& prompt, bool hidden) {
  ColocatedPolicy policy(64, kContext);
  EngineBench bench(policy, 64, 256, 512, kContext);
  std::vector<int32_t> table(64);
  std::iota(table.begin(), table.end(), 0);
  const size_t cols =
      hidden ? bench.model.config().hidden : static_cast<size_t>(bench.model.config().vocab_size);
  std::vector<float> memory(hidden ? prompt.size() * cols : 0);
  models::ForwardBatch batch;
  batch.kv = bench.store->layers();
  batch.sequences.push_back({.tokens = prompt,
                             .block_table = table,
                             .logits = models::LogitRows::kAll,
                             .hidden = absl::MakeSpan(memory)});
  device::ConstMatrixView logits;
  EXPECT_TRUE(bench.model.Forward(batch, &logits).ok());
  std::vector<std::vector<float>> rows;
  for (size_t r = 0; r < prompt.size(); ++r) {
    const float* row = hidden ? &memory[r * cols] : logits.row(static_cast<int64_t>(r));
    rows.emplace_back(row, row + cols);
  }
  return rows;
}

class PromptReadingTest : public testing::Test {
 protected:
  std::shared_ptr<RecordingListener> Answer(const Request& request, int64_t chunk_tokens = 64) {
    ColocatedPolicy policy(chunk_tokens, kContext);
    EngineBench bench(policy, 64, 256, 512, kContext);
    bench.engine.Start();
    const auto listener = bench.Submit(request).value();
    EXPECT_TRUE(listener->WaitForEnd().ok());
    EXPECT_TRUE(bench.AllFree());
    return listener;
  }
};

TEST_F(PromptReadingTest, ScoresAreTheLogarithmOfTheModelsOwnDistribution) {
  const Request request = RequestOf(150, 2);
  const std::vector<std::vector<float>> rows = RowsOf(request.prompt, false);
  const std::vector<PromptToken> scores = Answer(Scored(request, 3))->scores();
  ASSERT_EQ(scores.size(), request.prompt.size() - 1);
  for (size_t i = 0; i < scores.size(); ++i) {
    const std::vector<float>& row = rows[i];
    const int32_t id = request.prompt[i + 1];
    double total = 0;
    int32_t better = 0;
    for (const float logit : row) {
      total += std::exp(double{logit});
      better += logit > row[id] ? 1 : 0;
    }
    EXPECT_EQ(scores[i].token.id, id);
    EXPECT_NEAR(scores[i].token.logprob, row[id] - std::log(total), 1e-5);
    EXPECT_EQ(scores[i].rank, better + 1);
    ASSERT_EQ(scores[i].token.top.size(), 3u);
    for (const TokenLogprob& top : scores[i].token.top) {
      EXPECT_NEAR(top.logprob, row[top.id] - std::log(total), 1e-5);
    }
    EXPECT_GE(scores[i].token.top[0].logprob, scores[i].token.top[1].logprob);
  }
}

TEST_F(PromptReadingTest, ScoringChangesNoToken) {
  Request request = RequestOf(150, 9);
  const std::vector<int32_t> ids = Answer(request)->ids();
  EXPECT_EQ(Answer(Scored(request, 0))->ids(), ids);
  request.prompt.resize(1);
  EXPECT_TRUE(Answer(Scored(request, 0))->scores().empty());
}

TEST_F(PromptReadingTest, AScoredPromptTakesNothingFromTheCache) {
  ColocatedPolicy policy(64, kContext);
  EngineBench bench(policy, 64, 256, 512, kContext, /*prefix_cache=*/true);
  bench.engine.Start();
  const Request request = RequestOf(150, 2);
  bench.Run(request);
  const auto plain = bench.Submit(request).value();
  const auto scored = bench.Submit(Scored(request, 1)).value();
  EXPECT_TRUE(plain->WaitForEnd().ok());
  EXPECT_TRUE(scored->WaitForEnd().ok());
  EXPECT_GT(plain->cached_tokens(), 0);
  EXPECT_EQ(scored->cached_tokens(), 0);
  EXPECT_EQ(scored->scores().size(), 149u);
}

TEST_F(PromptReadingTest, AStepMakesFewRowsOfLogits) {
  ColocatedPolicy policy(512, kContext);
  EngineBench bench(policy, 64, 256, 512, kContext);
  std::atomic<int64_t> most{0};
  bench.model.before_forward = [&most](const models::ForwardBatch& batch) {
    int64_t rows = 0;
    for (const models::ForwardSequence& s : batch.sequences) {
      if (s.logits == models::LogitRows::kAll) rows += static_cast<int64_t>(s.tokens.size());
    }
    most = std::max(most.load(), rows);
    return absl::OkStatus();
  };
  const auto first = bench.Submit(Scored(RequestOf(407, 3, 1), 0)).value();
  const auto second = bench.Submit(Scored(RequestOf(333, 3, 2), 0)).value();
  bench.engine.Start();
  EXPECT_TRUE(first->WaitForEnd().ok());
  EXPECT_TRUE(second->WaitForEnd().ok());
  EXPECT_EQ(first->scores().size(), 406u);
  EXPECT_EQ(second->scores().size(), 332u);
  EXPECT_LE(most.load(), 128);
}

// Takes the blocks of the first sequence away after `after` steps.
class PreemptOnce final : public BatchPolicy {
 public:
  explicit PreemptOnce(int after) : left_(after) {}
  StepPlan Plan(const EngineView& view) override {
    StepPlan plan = policy_.Plan(view);
    if (left_-- == 0) {
      plan.run.clear();
      plan.preempt.push_back(view.sequences.front());
    }
    return plan;
  }

 private:
  ColocatedPolicy policy_{32, kContext};
  int left_;
};

TEST_F(PromptReadingTest, NothingIsReadTwiceWhenASequenceIsComputedAgain) {
  const Request request = RequestOf(150, 8);
  const auto whole = Answer(Scored(request, 1));
  const auto mean = Answer(Embedded(request, Pooling::kMean));
  for (const int after : {1, 3, 5, 8}) {
    PreemptOnce policy(after), again(after);
    EngineBench scoring(policy, 64, 256, 512, kContext), embedding(again, 64, 256, 512, kContext);
    scoring.engine.Start();
    embedding.engine.Start();
    const auto scored = scoring.Submit(Scored(request, 1)).value();
    const auto embedded = embedding.Submit(Embedded(request, Pooling::kMean)).value();
    EXPECT_TRUE(scored->WaitForEnd().ok());
    EXPECT_TRUE(embedded->WaitForEnd().ok());
    EXPECT_EQ(scored->preemptions(), 1);
    EXPECT_EQ(scored->ids(), whole->ids());
    ASSERT_EQ(scored->scores().size(), 149u) << after;
    for (size_t i = 0; i < 149; ++i) {
      EXPECT_EQ(scored->scores()[i].token.logprob, whole->scores()[i].token.logprob);
    }
    EXPECT_EQ(embedded->embedding(), mean->embedding()) << after;
  }
}

TEST_F(PromptReadingTest, AnEmbeddingIsTheMeanOrTheLastHiddenState) {
  Request request = RequestOf(150, 1);
  const std::vector<std::vector<float>> rows = RowsOf(request.prompt, true);
  for (const bool normalize : {true, false}) {
    request.reading.normalize = normalize;
    for (const Pooling pooling : {Pooling::kMean, Pooling::kLast}) {
      std::vector<double> expected(rows[0].size());
      double squares = 0;
      for (size_t i = 0; i < expected.size(); ++i) {
        for (const auto& row : rows) expected[i] += row[i] / static_cast<double>(rows.size());
        if (pooling == Pooling::kLast) expected[i] = rows.back()[i];
        squares += expected[i] * expected[i];
      }
      const auto listener = Answer(Embedded(request, pooling));
      EXPECT_TRUE(listener->ids().empty());
      const std::vector<float> embedding = listener->embedding();
      ASSERT_EQ(embedding.size(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(embedding[i], expected[i] / (normalize ? std::sqrt(squares) : 1.0), 1e-6);
      }
    }
  }
}

TEST_F(PromptReadingTest, AnEmbeddingDependsOnNeitherChunksNorNeighboursNorCache) {
  const Request request = RequestOf(150, 1);
  for (const Pooling pooling : {Pooling::kMean, Pooling::kLast}) {
    const std::vector<float> embedding = Answer(Embedded(request, pooling))->embedding();
    EXPECT_EQ(Answer(Embedded(request, pooling), 7)->embedding(), embedding);
    ColocatedPolicy policy(40, kContext);
    EngineBench bench(policy, 64, 256, 512, kContext, /*prefix_cache=*/true);
    const Request plain = RequestOf(100, 9, 2);
    const auto before = bench.Submit(plain).value();
    const auto among = bench.Submit(Embedded(request, pooling)).value();
    const auto behind = bench.Submit(Scored(plain, 1)).value();
    bench.engine.Start();
    for (const auto& listener : {before, among, behind}) {
      EXPECT_TRUE(listener->WaitForEnd().ok());
    }
    EXPECT_EQ(among->embedding(), embedding);
    EXPECT_EQ(before->ids(), Answer(plain)->ids());
    EXPECT_EQ(behind->ids(), before->ids());
    const auto warm = bench.Submit(Embedded(request, pooling)).value();
    EXPECT_TRUE(warm->WaitForEnd().ok());
    EXPECT_EQ(warm->embedding(), embedding);
    EXPECT_EQ(warm->cached_tokens() > 0, pooling == Pooling::kLast);
  }
}

}  // namespace
}  // namespace baton::engine
