#include "bench/load/metrics.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace baton::bench {
namespace {

// Values of numpy.percentile.
TEST(Percentile, InterpolatesLinearlyAsNumpyDoes) {
  const std::vector<double> four = {1, 2, 3, 4};
  EXPECT_DOUBLE_EQ(Percentile(four, 0), 1);
  EXPECT_DOUBLE_EQ(Percentile(four, 50), 2.5);
  EXPECT_DOUBLE_EQ(Percentile(four, 90), 3.7);
  EXPECT_DOUBLE_EQ(Percentile(four, 99), 3.97);
  EXPECT_DOUBLE_EQ(Percentile(four, 100), 4);
  EXPECT_DOUBLE_EQ(Percentile({7}, 99), 7);
  EXPECT_DOUBLE_EQ(Percentile({}, 50), 0);
}

TEST(Summarise, MeanMedianAndPopulationDeviation) {
  const Distribution values = Summarise({4, 1, 3, 2, 10}, std::vector<double>{95});
  EXPECT_EQ(values.count, 5);
  EXPECT_DOUBLE_EQ(values.mean, 4);
  EXPECT_DOUBLE_EQ(values.median, 3);
  EXPECT_DOUBLE_EQ(values.std, std::sqrt(10.0));
  EXPECT_DOUBLE_EQ(values.max, 10);
  ASSERT_EQ(values.percentiles.size(), 1u);
  EXPECT_NEAR(values.percentiles[0].second, 8.8, 1e-12);
}

RequestRecord Answer(double scheduled_s, double sent_s, double ttft_s, std::vector<double> itl_s,
                     int64_t output_tokens) {
  RequestRecord record;
  record.success = true;
  record.scheduled_s = scheduled_s;
  record.sent_s = sent_s;
  record.ttft_s = ttft_s;
  record.end_s = sent_s + ttft_s;
  for (double gap_s : itl_s) record.end_s += gap_s;
  if (!itl_s.empty()) record.ttst_s = ttft_s + itl_s[0];
  record.itl_s = std::move(itl_s);
  record.prompt_tokens = 100;
  record.output_tokens = output_tokens;
  return record;
}

std::vector<RequestRecord> ThreeAnswersAndAFailure() {
  RequestRecord failure;
  failure.scheduled_s = 0.5;
  failure.sent_s = 0.5;
  failure.end_s = 0.6;
  failure.error = "HTTP 500";
  return {Answer(0, 0, 0.1, {0.02, 0.04}, 3), Answer(0.1, 0.15, 0.3, {0.1}, 5),
          Answer(1, 1, 0.2, {}, 1), failure};
}

TEST(Compute, CountsAndThroughput) {
  const LoadMetrics metrics = Compute(ThreeAnswersAndAFailure(), 2, {}, std::vector<double>{50});
  EXPECT_EQ(metrics.completed, 3);
  EXPECT_EQ(metrics.failed, 1);
  EXPECT_EQ(metrics.total_input_tokens, 300);
  EXPECT_EQ(metrics.total_output_tokens, 9);
  EXPECT_DOUBLE_EQ(metrics.request_throughput, 1.5);
  EXPECT_DOUBLE_EQ(metrics.output_throughput, 4.5);
  EXPECT_DOUBLE_EQ(metrics.total_token_throughput, 154.5);
  EXPECT_FALSE(metrics.request_goodput.has_value());
  EXPECT_EQ(metrics.max_concurrent_requests, 2);  // at 0.15 s, and again at 0.5 s
  EXPECT_EQ(metrics.max_output_tokens_per_s, 5);  // chunks before 1 s
  EXPECT_NEAR(metrics.send_delay_ms.max, 50, 1e-9);
}

TEST(Compute, LatenciesHaveTheDefinitionsOfVllm) {
  LoadMetrics metrics = Compute(ThreeAnswersAndAFailure(), 2, {}, std::vector<double>{50});
  EXPECT_EQ(metrics.latencies_ms["ttft"].count, 3);
  EXPECT_NEAR(metrics.latencies_ms["ttft"].mean, 200, 1e-9);
  // Answers of one chunk have no second token and no time per further token.
  EXPECT_EQ(metrics.latencies_ms["ttst"].count, 2);
  EXPECT_NEAR(metrics.latencies_ms["ttst"].mean, (120 + 400) / 2.0, 1e-9);
  EXPECT_EQ(metrics.latencies_ms["tpot"].count, 2);
  EXPECT_NEAR(metrics.latencies_ms["tpot"].mean, (60 / 2.0 + 100 / 4.0) / 2, 1e-9);
  // Pooled over answers.
  EXPECT_EQ(metrics.latencies_ms["itl"].count, 3);
  EXPECT_NEAR(metrics.latencies_ms["itl"].median, 40, 1e-9);
  EXPECT_NEAR(metrics.latencies_ms["e2el"].mean, (160 + 400 + 200) / 3.0, 1e-9);
}

TEST(Compute, GoodputNeedsEveryLimitAndNoFailure) {
  const auto records = ThreeAnswersAndAFailure();
  EXPECT_DOUBLE_EQ(*Compute(records, 2, {{"ttft", 250}}, {}).request_goodput, 1);
  EXPECT_DOUBLE_EQ(*Compute(records, 2, {{"ttft", 250}, {"tpot", 29}}, {}).request_goodput, 0.5);
  EXPECT_DOUBLE_EQ(*Compute(records, 2, {{"e2el", 100}}, {}).request_goodput, 0);
}

TEST(Compute, NoRequestsGiveZerosNotNan) {
  const LoadMetrics metrics = Compute({}, 0, {{"ttft", 1}}, std::vector<double>{99});
  EXPECT_EQ(metrics.request_throughput, 0);
  EXPECT_EQ(*metrics.request_goodput, 0);
  EXPECT_EQ(metrics.latencies_ms.at("itl").percentiles[0].second, 0);
}

}  // namespace
}  // namespace baton::bench
