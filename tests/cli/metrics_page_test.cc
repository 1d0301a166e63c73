#include "cli/metrics_page.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "cli/status_line.h"

namespace baton::cli {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1000);

MetricsPage Page(const std::string& text, absl::Time time = kStart) {
  const auto page = ParseMetrics(text, time);
  EXPECT_TRUE(page.ok()) << page.status();
  return page.value_or(MetricsPage{});
}

TEST(MetricsPage, ReadsNamesLabelsAndValues) {
  const MetricsPage page = Page(
      "# HELP a b\n# TYPE a gauge\na{node=\"x\",role=\"p\"} 1.5\na{node=\"y\\\"\\n\"} 2\nb 3e2\n");
  EXPECT_EQ(page.Sum("a"), 3.5);
  EXPECT_EQ(page.Sum("a", {{"node", "x"}}), 1.5);
  EXPECT_EQ(page.Sum("a", {{"node", "z"}}), 0);
  EXPECT_EQ(page.Sum("b"), 300);
  EXPECT_EQ(page.ValuesOf("a", "node"), (std::vector<std::string>{"x", "y\"\n"}));
}

TEST(MetricsPage, NamesTheLineThatIsNoSample) {
  for (const char* text : {"a 1\nb\n", "a 1\nb{c=\"d\" 1\n", "a 1\nb{c=\"d\"} x\n", "a 1\n 1\n"}) {
    const auto page = ParseMetrics(text, kStart);
    ASSERT_FALSE(page.ok()) << text;
    EXPECT_NE(page.status().message().find("line 2"), absl::string_view::npos);
  }
}

TEST(MetricsPage, RatesAreGrowthPerSecondAndARestartIsNoNegativeRate) {
  const MetricsPage before = Page("c 10\n"), now = Page("c 30\n", kStart + absl::Seconds(4));
  EXPECT_EQ(Rate(before, now, "c"), 5);
  EXPECT_EQ(Rate(before, Page("c 3\n", kStart + absl::Seconds(4)), "c"), 0);
}

TEST(MetricsPage, QuantilesAreOfWhatWasObservedBetweenTheTwo) {
  const auto buckets = [](int a, int b, int c) {
    return absl::StrCat("h_bucket{le=\"1\"} ", a, "\nh_bucket{le=\"2\"} ", b,
                        "\nh_bucket{le=\"+Inf\"} ", c, "\n");
  };
  const MetricsPage before = Page(buckets(100, 100, 100));
  EXPECT_FALSE(Quantile(before, before, "h", 0.5).has_value());
  EXPECT_DOUBLE_EQ(*Quantile(before, Page(buckets(100, 110, 110)), "h", 0.5), 1.5);
  EXPECT_DOUBLE_EQ(*Quantile(before, Page(buckets(110, 110, 110)), "h", 0.1), 0.1);
  EXPECT_DOUBLE_EQ(*Quantile(before, Page(buckets(100, 100, 110)), "h", 0.9),
                   2);  // above all bounds
}

TEST(StatusLine, SaysWhatRunsHowFastAndHowFull) {
  const MetricsPage before =
      Page("baton_generation_tokens_total 0\nbaton_node_prompt_tokens_computed_total 0\n");
  const MetricsPage now = Page(
      "baton_sequences_running 3\nbaton_sequences_waiting 1\nbaton_admission_waiting 2\n"
      "baton_generation_tokens_total 50\nbaton_kv_usage 0.25\n"
      "baton_node_prompt_tokens_computed_total 30\nbaton_node_prompt_tokens_cached_total 10\n",
      kStart + absl::Seconds(10));
  EXPECT_EQ(StatusLine(before, now),
            "3 running, 3 waiting, 3.0 prompt + 5.0 output tokens/s, KV 25 % used, 25 % of prompt "
            "tokens cached");
}

TEST(StatusLine, IsOfInterestOnlyWhereSomethingHappened) {
  const MetricsPage idle = Page("baton_sequences_running 0\nbaton_requests_total 5\n");
  EXPECT_FALSE(IsActive(idle, idle));
  EXPECT_TRUE(IsActive(idle, Page("baton_sequences_running 1\nbaton_requests_total 5\n")));
  EXPECT_TRUE(IsActive(idle, Page("baton_sequences_running 0\nbaton_requests_total 6\n")));
}

}  // namespace
}  // namespace baton::cli
