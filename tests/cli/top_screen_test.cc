#include "cli/top_screen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace baton::cli {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

const absl::Time kBegin = absl::FromUnixSeconds(1000);

// As a router prints them; `step` moves the counters on.
std::string Recorded(int step, int decode_nodes = 1) {
  std::string text = absl::StrCat(
      "baton_node_up{node=\"p0\",role=\"prefill\"} 1\nbaton_node_up{node=\"old\",role=\"decode\"} "
      "0\n",
      "baton_sequences_running 3\nbaton_sequences_waiting 1\nbaton_admission_waiting 2\n",
      "baton_requests_total{outcome=\"stop\"} ", 10 * step,
      "\nbaton_requests_total{outcome=\"error\"} 1\n",
      "baton_node_prompt_tokens_computed_total{node=\"p0\",role=\"prefill\"} ", 1000 * step, "\n",
      "baton_node_kv_sent_bytes_total{node=\"p0\",role=\"prefill\"} ", 4000000 * step, "\n",
      "baton_inter_token_latency_seconds_bucket{le=\"0.01\"} ", 100 * step, "\n",
      "baton_inter_token_latency_seconds_bucket{le=\"+Inf\"} ", 100 * step, "\n");
  for (int i = 0; i < decode_nodes; ++i) {
    const std::string own = absl::StrCat("{node=\"d", i, "\",role=\"decode\"");
    absl::StrAppend(&text, "baton_node_up", own, "} 1\nbaton_node_step_seconds", own,
                    "} 0.0071\nbaton_node_tokens_generated_total", own, "} ", 100 * step, "\n");
    for (const auto& [state, blocks] : std::vector<std::pair<const char*, int>>{
             {"used", 25}, {"leased", 5}, {"cached", 20}, {"free", 50}, {"total", 100}}) {
      absl::StrAppend(&text, "baton_node_kv_blocks", own, ",state=\"", state, "\"} ", blocks, "\n");
    }
  }
  return text;
}

std::string Frame(TopView view, int decode_nodes = 1) {
  view.url = "http://r:8000";
  const auto before = ParseMetrics(Recorded(1, decode_nodes), kBegin);
  const auto now = ParseMetrics(Recorded(2, decode_nodes), kBegin + absl::Seconds(2));
  return TopFrame(*before, *now, view);
}

TEST(TopScreen, ShowsTheClusterTheLoadAndEachNode) {
  TopView view;
  view.columns = 140;
  view.history = {1, 2, 4, 8};
  const std::string frame = Frame(view);
  EXPECT_THAT(frame, HasSubstr("http://r:8000  2 nodes up, 1 gone"));
  EXPECT_THAT(frame, HasSubstr("3 running, 1 waiting, 2 in line; since start 21, 1 in error"));
  EXPECT_THAT(frame, HasSubstr("prompt 500.0"));
  EXPECT_THAT(frame, HasSubstr("output 50.0  ▁▂▄█\n"));
  EXPECT_THAT(frame, HasSubstr("between tokens p50 5.0 ms, p99 9.9 ms"));
  EXPECT_THAT(frame,
              ContainsRegex("d0 +decode +0 +0 +0 +50.0 +7.1 ms +\\[#####\\+---- +\\]  30 %"));
  EXPECT_THAT(frame, ContainsRegex("old +decode +gone"));
  EXPECT_THAT(frame, ContainsRegex("p0 +prefill .* 2.0M"));
  EXPECT_THAT(frame, Not(HasSubstr("\033")));
}

TEST(TopScreen, NoLineIsWiderThanTheTerminalAndNodesThatDoNotFitAreCounted) {
  for (const int columns : {20, 79, 100}) {
    TopView view;
    view.columns = columns;
    view.rows = 12;
    view.history = std::vector<double>(40, 1.0);
    const std::string frame = Frame(view, 100);
    const std::vector<std::string> lines = absl::StrSplit(frame, '\n');
    EXPECT_LE(lines.size(), 12u);
    for (const std::string& line : lines) {
      const auto characters =
          std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
      EXPECT_LE(characters, columns) << line;
    }
    EXPECT_THAT(frame, HasSubstr("... and 98 nodes"));
  }
}

TEST(TopScreen, ColoursWhatItIsAllowedToAndSaysWhenNobodyAnswers) {
  TopView view;
  view.color = true;
  view.columns = 200;
  view.trouble = "connection refused";
  const std::string frame = Frame(view);
  EXPECT_THAT(frame, HasSubstr("\033[1;31m  no answer: connection refused\033[0m"));
}

TEST(TopScreen, AClusterWithoutNodesIsNoReasonToFail) {
  const auto empty = ParseMetrics("", kBegin);
  EXPECT_THAT(TopFrame(*empty, *empty, TopView{}), HasSubstr("0 nodes up"));
}

}  // namespace
}  // namespace baton::cli
