// A running cluster, as its router describes it.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "cli/doctor/finding.h"
#include "cli/metrics_page.h"

namespace baton::cli {

struct ClusterFacts {
  std::string url;
  std::string version;    // of the router
  std::string not_ready;  // what /ready complains of; empty: ready
  absl::Duration round_trip;
  MetricsPage metrics;
};

// Asks the router at `url`, and judges; what is wrong with the answers is a finding too.
void CheckCluster(const std::string& url, Findings* findings);

void JudgeCluster(const ClusterFacts& facts, Findings* findings);

}  // namespace baton::cli
