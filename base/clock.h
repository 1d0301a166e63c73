// Time is passed in, never taken: decisions that depend on it can then run on virtual time.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace baton {

// A source of the current time. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes backwards within a process; comparable only with values from the same clock.
  virtual absl::Time Now() const = 0;
};

// Monotonic system time (CLOCK_MONOTONIC), expressed as an absl::Time whose epoch is arbitrary.
class SystemClock final : public Clock {
 public:
  absl::Time Now() const override;
  // The process-wide instance.
  static const SystemClock& Get();
};

// A clock that moves only when told to. For tests and simulation.
class ManualClock final : public Clock {
 public:
  absl::Time Now() const override {
    return absl::UnixEpoch() + absl::Nanoseconds(now_ns_.load(std::memory_order_relaxed));
  }
  void Advance(absl::Duration by) {
    now_ns_.fetch_add(absl::ToInt64Nanoseconds(by), std::memory_order_relaxed);
  }

 private:
  std::atomic<int64_t> now_ns_{0};
};

}  // namespace baton
