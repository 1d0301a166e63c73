#include "server/fault_injection.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "server/tls.h"

namespace baton::server {
namespace {

constexpr int64_t kTimeMaxMs = 600'000;
// Every fault is counted; the log shows the first ones and then one in a hundred.
constexpr int64_t kLoggedFully = 20;
constexpr int64_t kLoggedEvery = 100;

absl::Status Bad(absl::string_view item, absl::string_view allowed) {
  return absl::InvalidArgumentError(
      absl::StrCat("fault_injection: \"", item, "\": allowed is ", allowed));
}

// The draws of one point do not depend on how often others are passed.
uint64_t KeyOf(uint64_t seed, absl::string_view point) {
  uint64_t key = CounterRandom(seed, 0);
  for (const char c : point) key = CounterRandom(key, static_cast<uint8_t>(c));
  return key;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FaultInjection>> FaultInjection::Parse(
    absl::string_view spec, absl::string_view listen, absl::Span<const absl::string_view> points) {
  if (!spec.empty() && !IsLoopback(listen)) {
    return absl::FailedPreconditionError(
        absl::StrCat("fault_injection: allowed only where this process listens on loopback; listen "
                     "is ",
                     listen));
  }
  std::unique_ptr<FaultInjection> faults(new FaultInjection);
  for (const absl::string_view item : absl::StrSplit(spec, ',', absl::SkipWhitespace())) {
    BATON_RETURN_IF_ERROR(faults->AddItem(item, points));
    faults->enabled_ = true;
  }
  if (faults->enabled_) spdlog::warn("faults are injected on purpose: {}", std::string(spec));
  return faults;
}

absl::Status FaultInjection::AddItem(absl::string_view item,
                                     absl::Span<const absl::string_view> points) {
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(item, '=');
  if (parts.first == "seed") {
    if (absl::SimpleAtoi(parts.second, &seed_)) return absl::OkStatus();
    return Bad(item, "seed=N with N a number of 64 bits");
  }
  if (std::find(points.begin(), points.end(), parts.first) == points.end()) {
    return Bad(item, absl::StrCat("one of ", absl::StrJoin(points, ", "), ", seed"));
  }
  constexpr absl::string_view kForm =
      "POINT=PROBABILITY or POINT=@N, then maybe :TIMEms; PROBABILITY in (0, 1], N >= 1, "
      "TIME 0 to 600000";
  Rule rule;
  const std::vector<absl::string_view> value = absl::StrSplit(parts.second, ':');
  // Splitting nothing gives nothing, not one empty piece.
  if (value.empty() || value.size() > 2) return Bad(item, kForm);
  if (value.size() == 2) {
    int64_t ms = -1;
    absl::string_view digits = value[1];
    if (!absl::EndsWith(digits, "ms")) return Bad(item, kForm);
    digits.remove_suffix(2);
    if (!absl::SimpleAtoi(digits, &ms) || ms < 0 || ms > kTimeMaxMs) return Bad(item, kForm);
    rule.time = absl::Milliseconds(ms);
  }
  if (absl::StartsWith(value[0], "@")) {
    if (!absl::SimpleAtoi(value[0].substr(1), &rule.at) || rule.at < 1) return Bad(item, kForm);
  } else if (!absl::SimpleAtod(value[0], &rule.probability) || !(rule.probability > 0) ||
             rule.probability > 1) {
    return Bad(item, kForm);
  }
  MutexLock lock(mutex_);
  rules_[std::string(parts.first)] = rule;
  return absl::OkStatus();
}

std::optional<absl::Duration> FaultInjection::Fires(absl::string_view point) {
  if (!enabled_) return std::nullopt;
  int64_t number = 0;
  absl::Duration time;
  {
    MutexLock lock(mutex_);
    const auto found = rules_.find(std::string(point));
    if (found == rules_.end()) return std::nullopt;
    Rule& rule = found->second;
    const int64_t passed = ++rule.passed;
    const double draw =
        static_cast<double>(CounterRandom(KeyOf(seed_, point), passed) >> 11) * 0x1p-53;
    if (rule.at > 0 ? passed != rule.at : draw >= rule.probability) return std::nullopt;
    number = ++rule.happened;
    time = rule.time;
  }
  if (number <= kLoggedFully || number % kLoggedEvery == 0) {
    spdlog::warn("fault injected: {} number {}", std::string(point), number);
  }
  return time;
}

std::map<std::string, int64_t> FaultInjection::counts() const {
  std::map<std::string, int64_t> counts;
  MutexLock lock(mutex_);
  for (const auto& [point, rule] : rules_) counts[point] = rule.happened;
  return counts;
}

void RunStepFaults(FaultInjection& faults) {
  if (!faults.enabled()) return;
  for (const absl::string_view point : {kStepFaults[0], kStepFaults[1]}) {
    if (const auto time = faults.Fires(point)) absl::SleepFor(*time);
  }
  if (faults.Fires(kStepFaults[2])) kill(getpid(), SIGKILL);
}

}  // namespace baton::server
