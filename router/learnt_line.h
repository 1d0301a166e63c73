// What the router learns of a node while it works: straight lines through what was measured.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace baton::router {

// seconds = fixed_s + unit_s * units, or nothing known.
struct Line {
  double fixed_s = 0;
  double unit_s = 0;
  bool known = false;

  double At(double units) const { return fixed_s + unit_s * units; }
};

// A line fitted to (units, seconds) by least squares, in which each observation counts 5 % less
// than the one after it. While all observations are of one size, the line goes through the
// origin. Nothing is known again when no observation has come for kForgetAfter. Thread-safe;
// reading takes no lock.
class LearntLine {
 public:
  static constexpr absl::Duration kForgetAfter = absl::Minutes(2);

  void Observe(double units, double seconds, absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);
  Line At(int64_t now_ns) const;  // absl::ToUnixNanos of the same clock

 private:
  Mutex mutex_;
  double weight_ ABSL_GUARDED_BY(mutex_) = 0;
  double sum_x_ ABSL_GUARDED_BY(mutex_) = 0;
  double sum_y_ ABSL_GUARDED_BY(mutex_) = 0;
  double sum_xx_ ABSL_GUARDED_BY(mutex_) = 0;
  double sum_xy_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<double> fixed_s_{0};
  std::atomic<double> unit_s_{0};
  std::atomic<int64_t> observed_ns_{0};  // of the latest observation; 0: none
};

// Steps of a decode node are a line over its batch plus this many: reading the weights costs as
// much as so many sequences do, as long as nothing better is known.
inline constexpr double kStepBaseSequences = 16;

// Of one node, from its reports and from the timings of its calls.
struct NodeRates {
  LearntLine
      prefill;      // from dispatch to first token, over prompt tokens waiting there with its own
  LearntLine step;  // decode: one step, over kStepBaseSequences + sequences
  LearntLine transfer;  // exposed part of a hand-over that this node sent or took, over bytes
};

}  // namespace baton::router
