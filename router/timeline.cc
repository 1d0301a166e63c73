#include "router/timeline.h"

#include <algorithm>

namespace baton::router {

absl::string_view PhaseName(Phase phase) {
  constexpr absl::string_view kNames[kPhases] = {
      "admit",        "tokenise", "queue_prefill", "prefill", "transfer_exposed",
      "queue_decode", "decode",   "stream"};
  return kNames[static_cast<size_t>(phase)];
}

void Timeline::Add(Phase phase, absl::Time until) {
  if (until <= cursor_) return;
  spent_[static_cast<size_t>(phase)] += until - cursor_;
  cursor_ = until;
}

void Timeline::AddEndingWith(Phase phase, Phase last, absl::Duration measured, absl::Time until) {
  Add(phase, until - std::max(measured, absl::ZeroDuration()));
  Add(last, until);
}

}  // namespace baton::router
