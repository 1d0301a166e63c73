// Counters, histograms and the Prometheus text format.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace baton::router {

// Thread-safe.
class Counter {
 public:
  void Add(int64_t by = 1) { value_.fetch_add(by, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// Thread-safe; a reader may see an observation in a bucket before it sees it in the sum.
class Histogram {
 public:
  static constexpr size_t kMaxBounds = 40;
  // `bounds`: upper bounds, ascending, at most kMaxBounds.
  explicit Histogram(absl::Span<const double> bounds);
  void Observe(double value);

 private:
  friend class MetricsText;
  std::vector<double> bounds_;
  std::array<std::atomic<uint64_t>, kMaxBounds + 1> buckets_{};
  std::atomic<double> sum_{0};
};

// One metric label: name and value.
struct Label {
  absl::string_view name;
  absl::string_view value;
};

// Writes one exposition (text format 0.0.4).
class MetricsText {
 public:
  // `type`: "counter", "gauge" or "histogram".
  void Family(absl::string_view name, absl::string_view type, absl::string_view help);
  // A sample of the last family; `suffix` follows its name ("_total").
  void Sample(absl::Span<const Label> labels, double value);
  void Samples(absl::Span<const Label> labels, const Histogram& histogram);
  std::string Take() { return std::move(text_); }

 private:
  void Line(absl::string_view suffix, absl::Span<const Label> labels, absl::string_view le,
            double value);
  std::string name_;
  std::string text_;
};

}  // namespace baton::router
