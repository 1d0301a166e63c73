// How many calls may be made again: so that a cluster in trouble is not asked more, but about as
// often as usual.
#pragma once

#include <algorithm>

#include "base/mutex.h"

namespace baton::router {

// A bucket of retries: each sequence adds a tenth, each retry takes one. Thread-safe.
class RetryBudget {
 public:
  static constexpr double kPerSequence = 0.1;
  static constexpr double kMax = 32;  // a burst, as when a node with many sequences fails

  void SequenceStarted() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    retries_ = std::min(kMax, retries_ + kPerSequence);
  }
  // False when the budget is used up.
  bool Take() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    if (retries_ < 1) return false;
    retries_ -= 1;
    return true;
  }

 private:
  Mutex mutex_;
  double retries_ ABSL_GUARDED_BY(mutex_) = kMax;
};

}  // namespace baton::router
