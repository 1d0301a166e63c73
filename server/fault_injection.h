// Faults on purpose, for tests of a running cluster: off unless a specification asks for them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "base/rng.h"

namespace baton::server {

// Decides at named points of a process whether a fault happens there now. The same specification
// and the same order of calls give the same faults. Thread-safe.
//
// A specification is a comma-separated list: "seed=7,kv_corrupt=0.01,step_delay=1:20ms,crash=@40".
//   POINT=PROBABILITY[:TIMEms]   each time with this probability, (0, 1]
//   POINT=@N[:TIMEms]            the Nth time only, N >= 1
//   seed=N                       of the draws; 0 when absent
// TIME is for faults that last (delays); what it means is the point's business.
class FaultInjection {
 public:
  // For a process that listens on `listen`, which must be loopback where `spec` is not empty
  // (FailedPrecondition), and has the points `points`. An empty specification: no fault ever
  // happens. InvalidArgument names the item that is wrong and what is allowed.
  static absl::StatusOr<std::unique_ptr<FaultInjection>> Parse(
      absl::string_view spec, absl::string_view listen, absl::Span<const absl::string_view> points);

  // Called each time the point is passed. A value: the fault happens now, for this long (zero where
  // the specification names no time); it is counted and logged.
  std::optional<absl::Duration> Fires(absl::string_view point) ABSL_LOCKS_EXCLUDED(mutex_);

  bool enabled() const { return enabled_; }
  // How often each fault happened, by point.
  std::map<std::string, int64_t> counts() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Rule {
    double probability = 0;
    int64_t at = 0;  // 0: by probability
    absl::Duration time;
    int64_t passed = 0;
    int64_t happened = 0;
  };
  FaultInjection() = default;
  absl::Status AddItem(absl::string_view item, absl::Span<const absl::string_view> points);

  bool enabled_ = false;
  uint64_t seed_ = 0;
  mutable Mutex mutex_;
  std::map<std::string, Rule> rules_ ABSL_GUARDED_BY(mutex_);
};

// Points of a node's engine thread, passed before each step: it waits for TIME (step_delay; wedge
// is the same under a name of its own, for long times), or the process ends at once (crash).
inline constexpr absl::string_view kStepFaults[] = {"step_delay", "wedge", "crash"};
void RunStepFaults(FaultInjection& faults);

}  // namespace baton::server
