// Whether the engine's thread moves.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "base/clock.h"

namespace baton::engine {

// Told by a thread each time it has finished a piece of its work, asked by others. Thread-safe.
class Progress {
 public:
  // What a layer may take for each token of a step: much longer than any chip needs, so that a slow
  // one that computes a long prompt is not taken for stuck.
  static constexpr absl::Duration kPerToken = absl::Milliseconds(100);

  // `clock` must outlive it.
  explicit Progress(const Clock& clock) : clock_(clock) {}

  // A piece is done; the next one computes a layer for `tokens` tokens (0: computes nothing).
  void Moved(int64_t tokens = 0) {
    due_ns_.store(absl::ToUnixNanos(clock_.Now() + tokens * kPerToken), std::memory_order_relaxed);
  }
  // For how long the next piece is late; zero while it is not.
  absl::Duration late() const {
    const absl::Time due = absl::FromUnixNanos(due_ns_.load(std::memory_order_relaxed));
    return std::max(clock_.Now() - due, absl::ZeroDuration());
  }

 private:
  const Clock& clock_;
  std::atomic<int64_t> due_ns_{0};  // on clock_
};

}  // namespace baton::engine
