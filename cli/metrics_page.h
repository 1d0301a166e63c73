// What a router's /metrics said at one moment, and what can be read from two such moments.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace baton::cli {

using Labels = std::map<std::string, std::string>;

struct MetricSample {
  Labels labels;
  double value = 0;
};

struct MetricsPage {
  absl::Time time;
  std::map<std::string, std::vector<MetricSample>> samples;

  // The sum over the samples that have these labels; 0 where there is none.
  double Sum(const std::string& name, const Labels& where = {}) const;
  // The values that a label has, sorted.
  std::vector<std::string> ValuesOf(const std::string& name, const std::string& label) const;
};

// InvalidArgument: a line that is no sample of Prometheus' text format, with its number.
absl::StatusOr<MetricsPage> ParseMetrics(absl::string_view text, absl::Time time);
// Asks `url` for it. Unavailable when there is no answer, or another than 200.
absl::StatusOr<MetricsPage> FetchMetrics(const std::string& url, absl::Duration timeout);

// Growth of a counter per second; 0 where it fell (a restart).
double Rate(const MetricsPage& before, const MetricsPage& now, const std::string& name,
            const Labels& where = {});
// A quantile of what a histogram observed between the two, by linear interpolation within its
// bucket; empty: nothing was observed.
std::optional<double> Quantile(const MetricsPage& before, const MetricsPage& now,
                               const std::string& name, double share);

}  // namespace baton::cli
