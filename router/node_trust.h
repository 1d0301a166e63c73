// Whether a node, or a way between two nodes, is used although calls failed there.
#pragma once

#include <algorithm>

#include "absl/time/time.h"

namespace baton::router {

// After kFailures in a row there is a pause; the first failure after it makes the next one twice as
// long. What works once is trusted again.
class NodeTrust {
 public:
  static constexpr int kFailures = 3;
  static constexpr absl::Duration kPauseMin = absl::Seconds(1);
  static constexpr absl::Duration kPauseMax = absl::Seconds(8);

  void Failed(absl::Time now) {
    if (Paused(now)) return;  // calls that had begun before
    if (++failures_ < kFailures) return;
    paused_until_ = now + pause_;
    pause_ = std::min(2 * pause_, kPauseMax);
  }
  bool Paused(absl::Time now) const { return now < paused_until_; }

 private:
  int failures_ = 0;
  absl::Duration pause_ = kPauseMin;
  absl::Time paused_until_ = absl::InfinitePast();
};

}  // namespace baton::router
