#include "cli/status_line.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace baton::cli {

std::string StatusLine(const MetricsPage& before, const MetricsPage& now) {
  const double computed = Rate(before, now, "baton_node_prompt_tokens_computed_total");
  const double cached = Rate(before, now, "baton_node_prompt_tokens_cached_total");
  std::string text = absl::StrFormat(
      "%.0f running, %.0f waiting, %.1f prompt + %.1f output tokens/s, KV %.0f %% used",
      now.Sum("baton_sequences_running"),
      now.Sum("baton_sequences_waiting") + now.Sum("baton_admission_waiting"), computed,
      Rate(before, now, "baton_generation_tokens_total"), 100 * now.Sum("baton_kv_usage"));
  if (computed + cached > 0) {
    absl::StrAppendFormat(&text, ", %.0f %% of prompt tokens cached",
                          100 * cached / (computed + cached));
  }
  const auto first = Quantile(before, now, "baton_time_to_first_token_seconds", 0.5);
  if (first) absl::StrAppendFormat(&text, ", first token %.0f ms", 1e3 * *first);
  const auto gap = Quantile(before, now, "baton_inter_token_latency_seconds", 0.5);
  if (gap) absl::StrAppendFormat(&text, ", between tokens %.1f ms", 1e3 * *gap);
  if (first || gap) absl::StrAppend(&text, " (medians)");
  return text;
}

bool IsActive(const MetricsPage& before, const MetricsPage& now) {
  for (const char* gauge :
       {"baton_sequences_running", "baton_sequences_waiting", "baton_admission_waiting"}) {
    if (before.Sum(gauge) + now.Sum(gauge) > 0) return true;
  }
  for (const char* counter : {"baton_requests_total", "baton_generation_tokens_total"}) {
    if (before.Sum(counter) != now.Sum(counter)) return true;
  }
  return false;
}

}  // namespace baton::cli
