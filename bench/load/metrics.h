// The figures of a run, computed from its records with the definitions of `vllm bench serve`.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "bench/load/request_record.h"

namespace baton::bench {

// The latencies that are reported, in this order.
inline constexpr const char* kLatencyNames[] = {"ttft", "ttst", "tpot", "itl", "e2el"};

// Value below which `percent` % of `sorted` lies, with linear interpolation between neighbours
// (numpy.percentile's default). 0 for an empty list.
double Percentile(absl::Span<const double> sorted, double percent);

struct Distribution {
  int64_t count = 0;
  double mean = 0;
  double median = 0;
  double std = 0;  // of the population
  double max = 0;
  std::vector<std::pair<double, double>> percentiles;  // (percent, value)
};
Distribution Summarise(std::vector<double> values, absl::Span<const double> percents);

// Limits in milliseconds by latency name ("ttft", "ttst", "tpot", "e2el").
using Goodput = std::map<std::string, double>;

struct LoadMetrics {
  int64_t completed = 0;
  int64_t failed = 0;
  int64_t total_input_tokens = 0;
  int64_t total_output_tokens = 0;
  double duration_s = 0;
  double request_throughput = 0;
  std::optional<double> request_goodput;  // requests a second that met every limit
  double output_throughput = 0;
  double total_token_throughput = 0;
  double max_output_tokens_per_s = 0;  // token chunks in the fullest second
  int64_t max_concurrent_requests = 0;
  int64_t estimated = 0;  // requests whose tokens the server did not count
  std::map<std::string, Distribution> latencies_ms;  // by name
  Distribution send_delay_ms;  // sent - scheduled: how late the client itself was
};

// `duration_s`: from the first scheduled moment to the end of the last request.
LoadMetrics Compute(const std::vector<RequestRecord>& records, double duration_s,
                    const Goodput& goodput, absl::Span<const double> percents);

}  // namespace baton::bench
