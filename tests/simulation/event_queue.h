// Virtual time: what is to happen when, in one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "absl/time/time.h"
#include "base/clock.h"

namespace baton::simulation {

// Events of one moment happen in the order in which they were added.
class EventQueue {
 public:
  const Clock& clock() const { return clock_; }
  absl::Time now() const { return clock_.Now(); }

  void After(absl::Duration delay, std::function<void()> event) {
    After(delay, NewPlace(), std::move(event));
  }
  // A place in that order, for events that may be put off and must not be overtaken by it.
  uint64_t NewPlace() { return next_++; }
  void After(absl::Duration delay, uint64_t place, std::function<void()> event) {
    events_.emplace(std::make_pair(now() + delay, place), std::move(event));
  }
  // Moves time to the next event, up to `until`, and lets it happen. False when none is left.
  bool Step(absl::Time until) {
    const auto first = events_.begin();
    if (first == events_.end() || first->first.first > until) {
      if (until > now()) clock_.Advance(until - now());
      return false;
    }
    clock_.Advance(first->first.first - now());
    const std::function<void()> event = std::move(first->second);
    events_.erase(first);
    event();
    return true;
  }

 private:
  ManualClock clock_;
  uint64_t next_ = 0;
  std::map<std::pair<absl::Time, uint64_t>, std::function<void()>> events_;
};

}  // namespace baton::simulation
