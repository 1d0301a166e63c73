#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "base/rng.h"

namespace baton::engine {
namespace {

using testing::HasSubstr;

std::vector<float> RandomLogits(int32_t size, uint64_t seed) {
  std::vector<float> logits(size);
  for (int32_t i = 0; i < size; ++i) {
    logits[i] = static_cast<float>(CounterRandom(seed, i) >> 40) * 0x1p-22f * 6 - 12;
  }
  return logits;
}

SampledToken Draw(const std::vector<float>& logits, const SamplingParams& params,
                  const SampleContext& context = {}) {
  auto token = Sample(logits, params, context);
  EXPECT_TRUE(token.ok()) << token.status();
  return token.ok() ? *token : SampledToken{.id = -1};
}

// How often each id was drawn at the positions 0 .. draws - 1.
std::map<int32_t, int> Histogram(const std::vector<float>& logits, const SamplingParams& params,
                                 int draws) {
  std::map<int32_t, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[Draw(logits, params, {.position = i}).id];
  return counts;
}

// The definition, token by token, over plain vectors: the ids in order of likelihood, cut by top-k,
// top-p and min-p, and their probabilities.
std::map<int32_t, double> OracleDistribution(const std::vector<float>& logits,
                                             const SamplingParams& params) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (params.top_k > 0) order.resize(std::min<size_t>(order.size(), params.top_k));
  std::vector<double> p;
  double total = 0;
  for (const int32_t id : order) {
    p.push_back(std::exp((double{logits[id]} - logits[order[0]]) / params.temperature));
    total += p.back();
  }
  std::map<int32_t, double> kept;
  double mass = 0, sum = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && mass >= params.top_p * total) break;
    mass += p[i];
    if (p[i] < params.min_p) continue;
    kept[order[i]] = p[i];
    sum += p[i];
  }
  for (auto& [id, weight] : kept) weight /= sum;
  return kept;
}

// Pearson's statistic; ids that are expected fewer than five times count as one.
double ChiSquare(const std::map<int32_t, int>& seen, const std::map<int32_t, double>& expected,
                 int draws, int* degrees) {
  double statistic = 0, rare_expected = 0, rare_seen = 0;
  *degrees = -1;
  for (const auto& [id, p] : expected) {
    const auto found = seen.find(id);
    const double count = found == seen.end() ? 0 : found->second;
    if (p * draws < 5) {
      rare_expected += p * draws;
      rare_seen += count;
      continue;
    }
    statistic += (count - p * draws) * (count - p * draws) / (p * draws);
    ++*degrees;
  }
  if (rare_expected >= 5) {
    statistic += (rare_seen - rare_expected) * (rare_seen - rare_expected) / rare_expected;
    ++*degrees;
  }
  return statistic;
}

// Beyond it lies a chance of about 1 in 10,000 (Wilson and Hilferty 1931).
double ChiSquareLimit(int degrees) {
  const double t = 2.0 / (9.0 * degrees);
  return degrees * std::pow(1 - t + 3.72 * std::sqrt(t), 3);
}

TEST(SamplerTest, GreedyTakesTheLowestIdAmongEquals) {
  SamplingParams params;
  params.temperature = 0;
  EXPECT_EQ(Draw({1, 3, 2, 3, 3}, params).id, 1);
  EXPECT_EQ(Draw({-1, -1, -1}, params).id, 0);
}

TEST(SamplerTest, DrawsFollowTheDefinedDistribution) {
  const std::vector<float> logits = RandomLogits(200, 5);
  struct Case {
    double temperature, top_p;
    int32_t top_k;
    double min_p;
  };
  for (const Case& c :
       {Case{1, 1, 0, 0}, Case{0.7, 1, 0, 0}, Case{2, 1, 0, 0}, Case{1, 0.8, 0, 0},
        Case{1.5, 1, 7, 0}, Case{1, 1, 0, 0.1}, Case{1.2, 0.9, 40, 0.05}, Case{3, 0.3, 100, 0}}) {
    SamplingParams params;
    params.temperature = c.temperature;
    params.top_p = c.top_p;
    params.top_k = c.top_k;
    params.min_p = c.min_p;
    params.seed = 77;
    const int draws = 8000;
    const auto expected = OracleDistribution(logits, params);
    const auto seen = Histogram(logits, params, draws);
    for (const auto& [id, count] : seen) {
      EXPECT_TRUE(expected.count(id)) << "id " << id << " is cut off, was drawn " << count << "x";
    }
    int degrees = 0;
    const double statistic = ChiSquare(seen, expected, draws, &degrees);
    ASSERT_GT(degrees, 0);
    EXPECT_LT(statistic, ChiSquareLimit(degrees))
        << "temperature " << c.temperature << " top_p " << c.top_p << " top_k " << c.top_k;
  }
}

TEST(SamplerTest, TopKAndTopPKeepTheLowestIdsAmongEquals) {
  const std::vector<float> logits(100, 1.0f);
  SamplingParams params;
  params.top_k = 3;
  for (const auto& [id, count] : Histogram(logits, params, 300)) EXPECT_LT(id, 3) << count;
  params.top_k = 0;
  params.top_p = 0.1;
  const auto nucleus = Histogram(logits, params, 1000);
  EXPECT_EQ(nucleus.size(), 10u);
  for (const auto& [id, count] : nucleus) EXPECT_LT(id, 10) << count;
}

TEST(SamplerTest, TheTiniestNucleusIsTheLikeliestToken) {
  const std::vector<float> logits = RandomLogits(500, 6);
  SamplingParams params;
  params.top_p = 1e-9;
  const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  const auto seen = Histogram(logits, params, 50);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen.begin()->first, best);
}

TEST(SamplerTest, OneUniformNumberKeyedBySeedAndPosition) {
  const std::vector<float> logits = RandomLogits(300, 7);
  SamplingParams params;
  params.seed = 4;
  std::set<int32_t> by_position, by_seed;
  for (int64_t position = 0; position < 50; ++position) {
    const int32_t id = Draw(logits, params, {.position = position}).id;
    EXPECT_EQ(id, Draw(logits, params, {.position = position}).id);
    by_position.insert(id);
  }
  for (params.seed = 0; params.seed < 50; ++params.seed) {
    by_seed.insert(Draw(logits, params, {.position = 9}).id);
  }
  EXPECT_GT(by_position.size(), 5u);
  EXPECT_GT(by_seed.size(), 5u);
}

TEST(SamplerTest, PenaltiesAndBiasesMoveLogitsAsDefined) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const std::vector<float> logits = RandomLogits(40, seed);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 60; ++i) {
      tokens.push_back(static_cast<int32_t>(CounterRandom(seed + 100, i) % 40));
    }
    SamplingParams params;
    params.temperature = 0;
    params.repetition_penalty = 1.0 + 0.1 * static_cast<double>(seed % 5);
    params.frequency_penalty = 0.3 * static_cast<double>(seed % 3);
    params.presence_penalty = 0.7 * static_cast<double>(seed % 4) - 0.7;
    params.logit_bias = {{static_cast<int32_t>(seed), 3.0f}, {39, -2.0f}};
    const int64_t prompt = 45;
    std::vector<double> expected(logits.begin(), logits.end());
    for (int32_t id = 0; id < 40; ++id) {
      if (std::find(tokens.begin(), tokens.end(), id) != tokens.end()) {
        expected[id] = expected[id] > 0 ? expected[id] / params.repetition_penalty
                                        : expected[id] * params.repetition_penalty;
      }
      const auto count = std::count(tokens.begin() + prompt, tokens.end(), id);
      expected[id] -= params.frequency_penalty * static_cast<double>(count);
      if (count > 0) expected[id] -= params.presence_penalty;
      for (const LogitBias& bias : params.logit_bias) {
        if (bias.id == id) expected[id] += bias.bias;
      }
    }
    const auto best = std::max_element(expected.begin(), expected.end()) - expected.begin();
    EXPECT_EQ(Draw(logits, params, {.tokens = tokens, .prompt_tokens = prompt}).id, best) << seed;
  }
}

TEST(SamplerTest, BannedIdsAreNeverDrawn) {
  SamplingParams params;
  params.temperature = 0;
  const std::vector<int32_t> banned = {2, 0, -5, 99};
  EXPECT_EQ(Draw({9, 1, 8, 3}, params, {.banned_ids = banned}).id, 3);
  params.temperature = 1;
  for (int64_t i = 0; i < 200; ++i) {
    const int32_t id = Draw({9, 1, 8, 3}, params, {.position = i, .banned_ids = banned}).id;
    EXPECT_TRUE(id == 1 || id == 3) << id;
  }
}

TEST(SamplerTest, NothingLeftToDrawIsAnError) {
  const std::vector<float> logits = {1, 2, 3};
  const std::vector<int32_t> banned = {0, 1, 2};
  for (const double temperature : {0.0, 1.0}) {
    SamplingParams params;
    params.temperature = temperature;
    const auto token = Sample(logits, params, {.banned_ids = banned});
    EXPECT_EQ(token.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(token.status().message()), HasSubstr("banned"));
  }
}

TEST(SamplerTest, ALogitThatIsNoNumberIsNamed) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    const std::vector<float> logits = {1, 2, bad, 3};
    const auto token = Sample(logits, SamplingParams(), SampleContext());
    EXPECT_EQ(token.status().code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(token.status().message()), HasSubstr("logit 2 of 4"));
  }
}

TEST(SamplerTest, ExtremeSettingsStillDrawTheLikeliestToken) {
  const std::vector<float> logits = {-3, -1, -2, -7};
  SamplingParams params;
  for (const double temperature : {1e-300, 1e-40, 1e-6}) {
    params.temperature = temperature;
    EXPECT_EQ(Draw(logits, params).id, 1) << temperature;
  }
  params.temperature = 1;
  params.repetition_penalty = 1e-300;
  const std::vector<int32_t> tokens = {2};
  // 5 divided by almost nothing is beyond any float, and still the likeliest.
  EXPECT_EQ(Draw({1, 4, 5, 3}, params, {.tokens = tokens, .prompt_tokens = 1}).id, 2);
}

TEST(SamplerTest, LogprobsAreOfTheModelsOwnDistribution) {
  const std::vector<float> logits = RandomLogits(50, 9);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit});
  SamplingParams params;
  params.temperature = 0.3;
  params.logprobs = true;
  params.top_logprobs = 5;
  params.logit_bias = {{17, 100.0f}};
  const SampledToken token = Draw(logits, params);
  EXPECT_EQ(token.id, 17);
  EXPECT_NEAR(token.logprob, logits[17] - std::log(sum), 1e-5);
  ASSERT_EQ(token.top.size(), 5u);
  std::vector<float> sorted = logits;
  std::sort(sorted.rbegin(), sorted.rend());
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(logits[token.top[i].id], sorted[i]);
    EXPECT_NEAR(token.top[i].logprob, sorted[i] - std::log(sum), 1e-5);
  }
}

TEST(SamplerTest, TopLogprobsAreCutToTheVocabularyAndOrderedByIdAmongEquals) {
  SamplingParams params;
  params.temperature = 0;
  params.top_logprobs = 20;
  const SampledToken token = Draw({1, 1, 2}, params);
  ASSERT_EQ(token.top.size(), 3u);
  EXPECT_EQ(token.top[0].id, 2);
  EXPECT_EQ(token.top[1].id, 0);
  EXPECT_EQ(token.top[2].id, 1);
  params.top_logprobs = 0;
  EXPECT_TRUE(Draw({1, 1, 2}, params).top.empty());
}

TEST(SamplerTest, NothingButAllowedIdsIsDrawn) {
  const std::vector<float> logits = RandomLogits(300, 5);
  SamplingParams params;
  params.allowed_ids = {7, 31, 250, 100000, -3};
  std::set<int32_t> drawn;
  for (const auto& [id, count] : Histogram(logits, params, 2000)) drawn.insert(id);
  EXPECT_EQ(drawn, (std::set<int32_t>{7, 31, 250}));
}

TEST(SamplerTest, NothingButWhatTheMaskAllowsIsDrawn) {
  const std::vector<float> logits(100, 0.5f);
  const std::vector<uint32_t> mask = {1u << 31, 1u, 0};  // ids beyond the mask are not allowed
  std::set<int32_t> drawn;
  for (int i = 0; i < 500; ++i) drawn.insert(Draw(logits, {}, {.position = i, .mask = mask}).id);
  EXPECT_EQ(drawn, (std::set<int32_t>{31, 32}));
  const std::vector<uint32_t> nothing(4, 0);
  EXPECT_EQ(Sample(logits, {}, {.mask = nothing}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(SamplerTest, ABadSequenceIsNotCompletedAndOneBadTokenNeverDrawn) {
  std::vector<float> logits(20, 0.0f);
  logits[5] = 50;
  SamplingParams params{.temperature = 0};
  params.bad_sequences = {{3, 4, 5}, {}};
  const std::vector<int32_t> begun = {9, 3, 4}, other = {3, 4, 9};
  EXPECT_NE(Draw(logits, params, {.tokens = begun}).id, 5);
  EXPECT_EQ(Draw(logits, params, {.tokens = other}).id, 5);
  // The beginning in the prompt does not count.
  EXPECT_EQ(Draw(logits, params, {.tokens = begun, .prompt_tokens = 2}).id, 5);
  params.bad_sequences = {{5}};
  EXPECT_NE(Draw(logits, params, {}).id, 5);
}

}  // namespace
}  // namespace baton::engine
