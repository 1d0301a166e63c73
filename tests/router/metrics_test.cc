#include "router/metrics.h"

#include <gtest/gtest.h>

#include "router/router_metrics.h"

namespace baton::router {
namespace {

TEST(MetricsTest, AHistogramIsWrittenCumulatively) {
  const double bounds[] = {0.5, 1};
  Histogram histogram(bounds);
  histogram.Observe(0.5);
  histogram.Observe(0.7);
  histogram.Observe(3);
  MetricsText text;
  text.Family("x_seconds", "histogram", "An x");
  text.Samples({{"role", "a\"b"}}, histogram);
  EXPECT_EQ(text.Take(),
            "# HELP x_seconds An x\n# TYPE x_seconds histogram\n"
            "x_seconds_bucket{role=\"a\\\"b\",le=\"0.5\"} 1\n"
            "x_seconds_bucket{role=\"a\\\"b\",le=\"1\"} 2\n"
            "x_seconds_bucket{role=\"a\\\"b\",le=\"+Inf\"} 3\n"
            "x_seconds_sum{role=\"a\\\"b\"} 4.2\n"
            "x_seconds_count{role=\"a\\\"b\"} 3\n");
}

TEST(MetricsTest, TheCustomaryNamesOfVllmAreThere) {
  RouterMetrics metrics;
  const Admission admission({}, SystemClock::Get(), [](const AdmissionAsk&) { return Outlook(); });
  metrics.requests[static_cast<size_t>(RequestResult::kLength)].Add();
  const std::string text =
      metrics.Exposition(ClusterSnapshot(), CacheIndex::Stats(), admission, "m");
  for (const char* name :
       {"vllm:time_to_first_token_seconds_count", "vllm:inter_token_latency_seconds_bucket",
        "vllm:e2e_request_latency_seconds_sum", "vllm:request_queue_time_seconds_count",
        "vllm:request_prefill_time_seconds_count", "vllm:request_decode_time_seconds_count",
        "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
        "vllm:prompt_tokens_total", "vllm:generation_tokens_total",
        "baton_time_to_second_token_seconds_count", "baton_transfer_exposed_seconds_count",
        "baton_router_relay_seconds_count", "baton_retries_total"}) {
    const std::string line = std::string("\n") + name;
    EXPECT_TRUE(text.find(line + "{") != std::string::npos ||
                text.find(line + " ") != std::string::npos)
        << name;
  }
}

}  // namespace
}  // namespace baton::router
