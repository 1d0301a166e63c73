#include "cli/metrics_page.h"

#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "cli/http_client.h"

namespace baton::cli {
namespace {

// Reads `{a="b",c="d"}` from the front of `text`.
bool TakeLabels(absl::string_view* text, Labels* labels) {
  if (text->empty() || (*text)[0] != '{') return true;
  size_t at = 1;
  while (at < text->size() && (*text)[at] != '}') {
    const size_t equals = text->find("=\"", at);
    if (equals == absl::string_view::npos) return false;
    std::string& value = (*labels)[std::string(text->substr(at, equals - at))];
    at = equals + 2;
    for (; at < text->size() && (*text)[at] != '"'; ++at) {
      const bool escaped = (*text)[at] == '\\' && at + 1 < text->size();
      if (escaped) ++at;
      value.push_back(escaped && (*text)[at] == 'n' ? '\n' : (*text)[at]);
    }
    ++at;
    if (at < text->size() && (*text)[at] == ',') ++at;
  }
  if (at >= text->size()) return false;
  text->remove_prefix(at + 1);
  return true;
}

bool TakeLine(absl::string_view line, MetricsPage* page) {
  const size_t name_end = line.find_first_of("{ ");
  if (name_end == 0 || name_end == absl::string_view::npos) return false;
  const std::string name(line.substr(0, name_end));
  line.remove_prefix(name_end);
  MetricSample sample;
  if (!TakeLabels(&line, &sample.labels)) return false;
  if (!absl::SimpleAtod(line.substr(std::min<size_t>(1, line.size())), &sample.value)) return false;
  page->samples[name].push_back(std::move(sample));
  return true;
}

bool Has(const Labels& labels, const Labels& where) {
  for (const auto& [name, value] : where) {
    const auto found = labels.find(name);
    if (found == labels.end() || found->second != value) return false;
  }
  return true;
}

}  // namespace

double MetricsPage::Sum(const std::string& name, const Labels& where) const {
  const auto found = samples.find(name);
  if (found == samples.end()) return 0;
  double sum = 0;
  for (const MetricSample& sample : found->second) {
    if (Has(sample.labels, where)) sum += sample.value;
  }
  return sum;
}

std::vector<std::string> MetricsPage::ValuesOf(const std::string& name,
                                               const std::string& label) const {
  std::set<std::string> values;
  const auto found = samples.find(name);
  if (found != samples.end()) {
    for (const MetricSample& sample : found->second) {
      const auto own = sample.labels.find(label);
      if (own != sample.labels.end()) values.insert(own->second);
    }
  }
  return {values.begin(), values.end()};
}

absl::StatusOr<MetricsPage> ParseMetrics(absl::string_view text, absl::Time time) {
  MetricsPage page{.time = time, .samples = {}};
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (line.empty() || line[0] == '#') continue;
    if (!TakeLine(line, &page)) {
      return absl::InvalidArgumentError(
          absl::StrCat("metrics, line ", number, ": '", line, "' is no sample"));
    }
  }
  return page;
}

absl::StatusOr<MetricsPage> FetchMetrics(const std::string& url, absl::Duration timeout) {
  BATON_ASSIGN_OR_RETURN(const HttpReply reply, HttpGet(url, "/metrics", timeout));
  if (reply.status != 200) {
    return absl::UnavailableError(absl::StrCat(url, "/metrics: HTTP ", reply.status));
  }
  return ParseMetrics(reply.body, SystemClock::Get().Now());
}

double Rate(const MetricsPage& before, const MetricsPage& now, const std::string& name,
            const Labels& where) {
  const double seconds = absl::ToDoubleSeconds(now.time - before.time);
  const double growth = now.Sum(name, where) - before.Sum(name, where);
  return seconds > 0 && growth > 0 ? growth / seconds : 0;
}

std::optional<double> Quantile(const MetricsPage& before, const MetricsPage& now,
                               const std::string& name, double share) {
  std::map<double, double> cumulated;  // by upper bound
  const std::string buckets = absl::StrCat(name, "_bucket");
  for (const auto& [page, sign] : {std::pair(&now, 1.0), std::pair(&before, -1.0)}) {
    const auto found = page->samples.find(buckets);
    if (found == page->samples.end()) continue;
    for (const MetricSample& sample : found->second) {
      const auto le = sample.labels.find("le");
      double bound = std::numeric_limits<double>::infinity();
      if (le == sample.labels.end()) continue;
      if (le->second != "+Inf" && !absl::SimpleAtod(le->second, &bound)) continue;
      cumulated[bound] += sign * sample.value;
    }
  }
  if (cumulated.empty() || cumulated.rbegin()->second <= 0) return std::nullopt;
  const double wanted = share * cumulated.rbegin()->second;
  double lower = 0, below = 0;
  for (const auto& [bound, count] : cumulated) {
    if (count >= wanted) {
      if (std::isinf(bound)) return lower;
      return lower + (bound - lower) * (wanted - below) / std::max(count - below, 1.0);
    }
    lower = bound;
    below = count;
  }
  return lower;
}

}  // namespace baton::cli
