#include "router/metrics.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"

namespace baton::router {
namespace {

std::string NumberText(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) {
    return absl::StrCat(static_cast<int64_t>(value));
  }
  return absl::StrFormat("%.12g", value);
}

void AppendEscaped(absl::string_view value, std::string* out) {
  for (const char c : value) {
    if (c == '\\' || c == '"') out->push_back('\\');
    if (c == '\n') {
      *out += "\\n";
    } else {
      out->push_back(c);
    }
  }
}

}  // namespace

Histogram::Histogram(absl::Span<const double> bounds) : bounds_(bounds.begin(), bounds.end()) {
  BATON_CHECK(bounds.size() <= kMaxBounds, "a histogram has at most kMaxBounds bounds");
}

void Histogram::Observe(double value) {
  const size_t bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  buckets_[bucket].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

void MetricsText::Family(absl::string_view name, absl::string_view type, absl::string_view help) {
  name_ = std::string(name);
  absl::StrAppend(&text_, "# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
}

void MetricsText::Line(absl::string_view suffix, absl::Span<const Label> labels,
                       absl::string_view le, double value) {
  absl::StrAppend(&text_, name_, suffix);
  char separator = '{';
  const auto append = [&](absl::string_view name, absl::string_view label) {
    text_.push_back(separator);
    absl::StrAppend(&text_, name, "=\"");
    AppendEscaped(label, &text_);
    text_.push_back('"');
    separator = ',';
  };
  for (const Label& label : labels) append(label.name, label.value);
  if (!le.empty()) append("le", le);
  if (separator == ',') text_.push_back('}');
  absl::StrAppend(&text_, " ", NumberText(value), "\n");
}

void MetricsText::Sample(absl::Span<const Label> labels, double value) {
  Line("", labels, "", value);
}

void MetricsText::Samples(absl::Span<const Label> labels, const Histogram& histogram) {
  uint64_t count = 0;
  for (size_t i = 0; i < histogram.bounds_.size(); ++i) {
    count += histogram.buckets_[i].load(std::memory_order_relaxed);
    Line("_bucket", labels, NumberText(histogram.bounds_[i]), static_cast<double>(count));
  }
  count += histogram.buckets_[histogram.bounds_.size()].load(std::memory_order_relaxed);
  Line("_bucket", labels, "+Inf", static_cast<double>(count));
  Line("_sum", labels, "", histogram.sum_.load(std::memory_order_relaxed));
  Line("_count", labels, "", static_cast<double>(count));
}

}  // namespace baton::router
