// A real model: SmolLM2-135M-Instruct predicts what transformers predicts from the same weights.
//
// The model is found by BATON_MODEL or in the cache folder where scripts/test puts it. Without it
// the tests are skipped, or fail where BATON_REQUIRE_MODEL is 1.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "device/device_factory.h"
#include "models/model_registry.h"
#include "tests/fakes/contiguous_kv.h"

namespace baton::models {
namespace {

using nlohmann::json;

constexpr int64_t kMaxTokens = 512;

std::string EnvironmentOr(const char* name, const std::string& absent) {
  const char* value = std::getenv(name);
  return value != nullptr && value[0] != '\0' ? value : absent;
}

std::string ModelPath() {
  const std::string cache =
      EnvironmentOr("BATON_CACHE_DIR", EnvironmentOr("HOME", "") + "/.cache/baton");
  return EnvironmentOr("BATON_MODEL", cache + "/models/SmolLM2-135M-Instruct.Q4_1.gguf");
}

// How far a device may be from float32 arithmetic. Weights are the same 4-bit values everywhere;
// the chips round activations to 8 bits, which moves single log-probabilities by tenths.
struct Tolerance {
  double single_logprob;
  double mean_logprob;
  double least_margin;  // arg-max tokens are compared where the reference is this sure
};

Tolerance ToleranceOf(const std::string& device) {
  return device == "cpu" ? Tolerance{0.01, 0.001, 0.02} : Tolerance{1.0, 0.1, 0.5};
}

std::vector<double> LogProbabilities(const float* logits, int64_t count) {
  const double most = *std::max_element(logits, logits + count);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(logits[i] - most);
  std::vector<double> result(count);
  for (int64_t i = 0; i < count; ++i) result[i] = logits[i] - most - std::log(sum);
  return result;
}

class SmolLm2 : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::string path = ModelPath();
    if (!std::ifstream(path).good()) {
      const std::string message =
          absl::StrCat("no model at ", path, "; scripts/test provides it, or set BATON_MODEL");
      if (EnvironmentOr("BATON_REQUIRE_MODEL", "0") == "1") FAIL() << message;
      GTEST_SKIP() << message;
    }
    golden_ = json::parse(
        std::ifstream(absl::StrCat(BATON_TEST_DATA, "/golden/smollm2-135m-instruct.json")));
    auto device = device::CreateDevice({.name = GetParam(), .threads = 2});
    ASSERT_TRUE(device.ok()) << device.status();
    device_ = *std::move(device);
    auto model = LoadModel(path, *device_, {.max_batch_tokens = kMaxTokens});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    const device::DType dtype = GetParam() == "cpu" ? device::DType::kF32 : device::DType::kF16;
    auto kv = fakes::ContiguousKv::Create(*device_, model_->config(), 1, kMaxTokens, 32, dtype);
    ASSERT_TRUE(kv.ok()) << kv.status();
    kv_ = *std::move(kv);
  }

  // Logits of every token of `ids`, appended at `position`.
  device::ConstMatrixView Forward(absl::Span<const int32_t> ids, int64_t position) {
    ForwardBatch batch;
    batch.kv = kv_.layers();
    batch.sequences.push_back({.tokens = ids,
                               .position = position,
                               .block_table = kv_.table(0),
                               .logits = LogitRows::kAll});
    device::ConstMatrixView logits;
    const absl::Status status = model_->Forward(batch, &logits);
    EXPECT_TRUE(status.ok()) << status;
    return logits;
  }

  // Feeds the golden continuation token by token; compares arg-max tokens and log-probabilities.
  void ComparePrompt(const json& prompt);

  json golden_;
  std::unique_ptr<device::Device> device_;
  std::unique_ptr<Model> model_;
  fakes::ContiguousKv kv_;
  double error_sum_ = 0, largest_error_ = 0;
  int64_t compared_ = 0, arg_max_compared_ = 0;
};

void SmolLm2::ComparePrompt(const json& prompt) {
  const Tolerance tolerance = ToleranceOf(GetParam());
  const std::string name = prompt["name"];
  const auto ids = prompt["ids"].get<std::vector<int32_t>>();
  const auto greedy = prompt["greedy_ids"].get<std::vector<int32_t>>();
  const auto compare = [&](double golden, double had) {
    const double error = std::fabs(golden - had);
    EXPECT_LE(error, tolerance.single_logprob) << name;
    error_sum_ += error;
    largest_error_ = std::max(largest_error_, error);
    ++compared_;
  };
  device::ConstMatrixView logits = Forward(ids, 0);
  ASSERT_EQ(logits.rows, static_cast<int64_t>(ids.size()));
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    compare(prompt["prompt_logprobs"][i], LogProbabilities(logits.row(i), logits.cols)[ids[i + 1]]);
  }
  for (size_t step = 0; step < greedy.size(); ++step) {
    const json& golden = prompt["steps"][step];
    const float* row = logits.row(logits.rows - 1);
    const std::vector<double> logprobs = LogProbabilities(row, logits.cols);
    const auto best = std::max_element(logprobs.begin(), logprobs.end()) - logprobs.begin();
    if (golden["margin"].get<double>() >= tolerance.least_margin) {
      EXPECT_EQ(best, greedy[step]) << name << " step " << step;
      ++arg_max_compared_;
    }
    compare(golden["top_logprobs"][0], logprobs[golden["top_ids"][0].get<int32_t>()]);
    logits = Forward({&greedy[step], 1}, static_cast<int64_t>(ids.size() + step));
  }
}

TEST_P(SmolLm2, GreedyTokensAndLogProbabilitiesAreThoseOfTheReference) {
  for (const json& prompt : golden_["prompts"]) {
    // The reference device is slow: short prompts only.
    if (GetParam() == "cpu" && prompt["ids"].size() > 10) continue;
    ComparePrompt(prompt);
  }
  EXPECT_GE(arg_max_compared_, 20);
  EXPECT_LE(error_sum_ / static_cast<double>(compared_), ToleranceOf(GetParam()).mean_logprob);
  RecordProperty("mean_error", absl::StrCat(error_sum_ / static_cast<double>(compared_)));
  RecordProperty("largest_error", absl::StrCat(largest_error_));
}

TEST_P(SmolLm2, PerplexityIsWithinOnePercentOfTheReference) {
  if (GetParam() == "cpu") GTEST_SKIP() << "slow, and implied by the log-probabilities";
  const json& golden = golden_["perplexity"];
  const auto ids = golden["ids"].get<std::vector<int32_t>>();
  const int64_t chunk = golden["chunk"];
  const int64_t chunks = static_cast<int64_t>(ids.size()) / chunk;
  double nll = 0, golden_nll = 0;
  int64_t predictions = 0;
  for (int64_t c = 0; c < chunks; ++c) {
    const absl::Span<const int32_t> tokens = absl::MakeConstSpan(ids).subspan(c * chunk, chunk);
    const device::ConstMatrixView logits = Forward(tokens, 0);
    ASSERT_EQ(logits.rows, chunk);
    for (int64_t i = 0; i + 1 < chunk; ++i) {
      nll -= LogProbabilities(logits.row(i), logits.cols)[tokens[i + 1]];
    }
    predictions += chunk - 1;
    golden_nll += golden["chunks"][c]["nll_sum"].get<double>();
  }
  const double ratio = std::exp((nll - golden_nll) / static_cast<double>(predictions));
  RecordProperty("perplexity", absl::StrCat(std::exp(nll / static_cast<double>(predictions))));
  EXPECT_NEAR(ratio, 1.0, 0.01);
}

TEST_P(SmolLm2, ConfigurationIsThatOfTheFile) {
  const ModelConfig& config = model_->config();
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.layers, 30);
  EXPECT_EQ(config.query_heads, 9);
  EXPECT_EQ(config.kv_heads, 3);
  EXPECT_EQ(config.vocab_size, 49152);
  EXPECT_EQ(config.context_length, 8192);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_THAT(config.eos_ids, testing::ElementsAre(2));
  EXPECT_NE(config.fingerprint, 0u);
}

INSTANTIATE_TEST_SUITE_P(Devices, SmolLm2, testing::Values("cpu", "p_chip", "d_chip"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace baton::models
