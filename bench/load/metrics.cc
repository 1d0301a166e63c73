#include "bench/load/metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace baton::bench {
namespace {

constexpr double kMsPerS = 1000;

bool MeetsLimits(const RequestRecord& record, const Goodput& goodput) {
  for (const auto& [name, limit_ms] : goodput) {
    double value_s = 0;
    if (name == "ttft") value_s = record.ttft_s;
    if (name == "ttst") value_s = std::max(record.ttst_s, 0.0);
    if (name == "tpot") value_s = record.tpot_s();
    if (name == "e2el") value_s = record.e2el_s();
    if (value_s * kMsPerS > limit_ms) return false;
  }
  return true;
}

// Token chunks in the fullest second, counted from the first request's start.
double PeakTokensPerSecond(const std::vector<RequestRecord>& records) {
  std::map<int64_t, int64_t> chunks_by_second;
  for (const RequestRecord& record : records) {
    if (!record.success) continue;
    double at_s = record.sent_s + record.ttft_s;
    ++chunks_by_second[static_cast<int64_t>(at_s)];
    for (double gap_s : record.itl_s) {
      at_s += gap_s;
      ++chunks_by_second[static_cast<int64_t>(at_s)];
    }
  }
  int64_t peak = 0;
  for (const auto& [second, chunks] : chunks_by_second) peak = std::max(peak, chunks);
  return static_cast<double>(peak);
}

// The most requests that were in flight at one moment.
int64_t PeakConcurrency(const std::vector<RequestRecord>& records) {
  std::vector<std::pair<double, int>> changes;
  for (const RequestRecord& record : records) {
    changes.emplace_back(record.sent_s, +1);
    changes.emplace_back(record.end_s, -1);
  }
  std::sort(changes.begin(), changes.end());  // at equal times the end comes first
  int64_t now = 0;
  int64_t peak = 0;
  for (const auto& [at_s, change] : changes) {
    now += change;
    peak = std::max(peak, now);
  }
  return peak;
}

std::map<std::string, std::vector<double>> LatenciesMs(const std::vector<RequestRecord>& records) {
  std::map<std::string, std::vector<double>> values;
  for (const char* name : kLatencyNames) values[name];
  for (const RequestRecord& record : records) {
    if (!record.success) continue;
    values["ttft"].push_back(record.ttft_s * kMsPerS);
    if (record.ttst_s >= 0) values["ttst"].push_back(record.ttst_s * kMsPerS);
    if (record.output_tokens > 1) values["tpot"].push_back(record.tpot_s() * kMsPerS);
    for (double gap_s : record.itl_s) values["itl"].push_back(gap_s * kMsPerS);
    values["e2el"].push_back(record.e2el_s() * kMsPerS);
  }
  return values;
}

}  // namespace

double Percentile(absl::Span<const double> sorted, double percent) {
  if (sorted.empty()) return 0;
  const double position = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(std::floor(position));
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double fraction = position - static_cast<double>(below);
  return sorted[below] + (sorted[above] - sorted[below]) * fraction;
}

Distribution Summarise(std::vector<double> values, absl::Span<const double> percents) {
  std::sort(values.begin(), values.end());
  Distribution result;
  result.count = static_cast<int64_t>(values.size());
  for (double percent : percents) {
    result.percentiles.emplace_back(percent, Percentile(values, percent));
  }
  if (values.empty()) return result;
  const auto count = static_cast<double>(values.size());
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  result.median = Percentile(values, 50);
  result.max = values.back();
  double squares = 0;
  for (double value : values) squares += (value - result.mean) * (value - result.mean);
  result.std = std::sqrt(squares / count);
  return result;
}

LoadMetrics Compute(const std::vector<RequestRecord>& records, double duration_s,
                    const Goodput& goodput, absl::Span<const double> percents) {
  LoadMetrics metrics;
  metrics.duration_s = duration_s;
  int64_t good = 0;
  std::vector<double> send_delays_ms;
  for (const RequestRecord& record : records) {
    send_delays_ms.push_back((record.sent_s - record.scheduled_s) * kMsPerS);
    if (!record.success) {
      ++metrics.failed;
      continue;
    }
    ++metrics.completed;
    metrics.total_input_tokens += record.prompt_tokens;
    metrics.total_output_tokens += record.output_tokens;
    metrics.estimated += record.tokens_estimated ? 1 : 0;
    good += MeetsLimits(record, goodput) ? 1 : 0;
  }
  const double per_s = duration_s > 0 ? 1 / duration_s : 0;
  metrics.request_throughput = static_cast<double>(metrics.completed) * per_s;
  if (!goodput.empty()) metrics.request_goodput = static_cast<double>(good) * per_s;
  metrics.output_throughput = static_cast<double>(metrics.total_output_tokens) * per_s;
  metrics.total_token_throughput =
      static_cast<double>(metrics.total_input_tokens + metrics.total_output_tokens) * per_s;
  metrics.max_output_tokens_per_s = PeakTokensPerSecond(records);
  metrics.max_concurrent_requests = PeakConcurrency(records);
  for (auto& [name, values] : LatenciesMs(records)) {
    metrics.latencies_ms[name] = Summarise(std::move(values), percents);
  }
  metrics.send_delay_ms = Summarise(std::move(send_delays_ms), percents);
  return metrics;
}

}  // namespace baton::bench
