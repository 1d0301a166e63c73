#include "cli/doctor/cluster_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kGood[] =
    "baton_nodes{role=\"prefill\"} 1\nbaton_nodes{role=\"decode\"} 1\n"
    "baton_node_up{node=\"p0\",role=\"prefill\"} 1\nbaton_node_up{node=\"d0\",role=\"decode\"} 1\n"
    "baton_node_info{node=\"d0\",role=\"decode\",version=\"1.0\",device=\"d_chip: avx2\"} 1\n"
    "baton_node_clock_skew_seconds{node=\"d0\",role=\"decode\"} -0.01\n"
    "baton_kv_usage 0.2\nbaton_requests_total{outcome=\"stop\"} 10\n";

// What is not good of a cluster with these samples besides the good ones.
std::string Complaints(const std::string& samples, const std::string& not_ready = "",
                       const std::string& base = kGood) {
  ClusterFacts facts;
  facts.url = "http://r";
  facts.version = "1.0";
  facts.not_ready = not_ready;
  facts.metrics = ParseMetrics(base + samples, absl::UnixEpoch()).value_or(MetricsPage{});
  Findings findings, bad;
  JudgeCluster(facts, &findings);
  for (const Finding& finding : findings) {
    if (finding.verdict != Verdict::kGood) bad.push_back(finding);
  }
  return bad.empty() ? "" : FindingsText(bad, false);
}

TEST(ClusterChecks, AGoodClusterHasNothingToComplainOf) { EXPECT_EQ(Complaints(""), ""); }

TEST(ClusterChecks, VersionsAndClocksThatDifferAreNamed) {
  EXPECT_THAT(Complaints("baton_node_info{node=\"d1\",version=\"0.9\",device=\"d_chip\"} 1\n"),
              HasSubstr("d1 runs Baton 0.9, the router 1.0"));
  EXPECT_THAT(Complaints("baton_node_clock_skew_seconds{node=\"d1\"} 12.5\n"),
              HasSubstr("the clock of d1 is 12.5 s ahead of the router's"));
  EXPECT_THAT(Complaints("baton_node_clock_skew_seconds{node=\"d1\"} -3\n"),
              HasSubstr("the clock of d1 is 3.0 s behind the router's"));
}

TEST(ClusterChecks, NodesThatLackAreGoneDrainOrComputeSlowlyAreNamed) {
  EXPECT_THAT(Complaints("", "No decode node is ready.", "baton_nodes{role=\"prefill\"} 1\n"),
              AllOf(HasSubstr("ERROR   not ready: No decode node"),
                    HasSubstr("ERROR   no decode node"), HasSubstr("2 errors")));
  EXPECT_THAT(Complaints("", "", "baton_nodes{role=\"decode\"} 1\n"),
              HasSubstr("note    no prefill node"));
  EXPECT_THAT(Complaints("baton_node_up{node=\"d9\",role=\"decode\"} 0\n"),
              HasSubstr("d9 was here and is gone"));
  EXPECT_THAT(Complaints("baton_node_draining{node=\"d0\"} 1\n"), HasSubstr("d0 drains"));
  EXPECT_THAT(
      Complaints("baton_node_info{node=\"d1\",version=\"1.0\",device=\"cpu: 1 thread\"} 1\n"),
      HasSubstr("d1 computes on the slow reference"));
}

TEST(ClusterChecks, WhatWentWrongUnderLoadIsCounted) {
  EXPECT_THAT(Complaints("baton_requests_total{outcome=\"error\"} 2\n"),
              HasSubstr("WARNING 2 of 12 requests"));
  EXPECT_THAT(Complaints("baton_retries_total{role=\"decode\"} 3\n"),
              HasSubstr("3 attempts failed on a node"));
  EXPECT_THAT(Complaints("baton_node_kv_frames_refused_total{node=\"d0\"} 4\n"),
              HasSubstr("d0 refused 4 KV frames"));
  EXPECT_THAT(Complaints("baton_admission_waiting 7\n"), HasSubstr("7 requests stand in line"));
  EXPECT_THAT(Complaints("baton_kv_usage 0.78\n"),
              HasSubstr("98 % of the decode nodes' KV blocks"));
}

}  // namespace
}  // namespace baton::cli
