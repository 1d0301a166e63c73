// Where the time of a sequence went, without gaps: the phases add up to its life.
#pragma once

#include <array>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace baton::router {

// In the order in which a sequence without failures goes through them.
enum class Phase : uint8_t {
  kAdmit,            // from the request's last byte to its turn: parsing, checks, the line
  kTokenise,         // text to token ids, grammar compiled
  kQueuePrefill,     // nodes picked, blocks leased, waiting for the first step; networks included
  kPrefill,          // on the prefill node, from the first step to the first token
  kTransferExposed,  // from the first token to the commit, as far as compute did not hide it
  kQueueDecode,      // from the commit to the first decode step
  kDecode,           // from that step to the arrival of the last token, relays excluded
  kStream,           // text, stop strings, and handing events to the connection
};
inline constexpr size_t kPhases = 8;
absl::string_view PhaseName(Phase phase);

// A cursor that moves through time and leaves what it passed to one phase after another; what is
// behind the cursor never changes. A phase that comes again (another attempt) grows.
class Timeline {
 public:
  Timeline() = default;
  explicit Timeline(absl::Time begin) : begin_(begin), cursor_(begin) {}

  // Everything up to `until` belongs to `phase`. No effect where the cursor is there already.
  void Add(Phase phase, absl::Time until);
  // The same, of which the last `measured` (at most all of it) belongs to `last`.
  void AddEndingWith(Phase phase, Phase last, absl::Duration measured, absl::Time until);

  absl::Duration spent(Phase phase) const { return spent_[static_cast<size_t>(phase)]; }
  // From the beginning to the cursor: the sum of all phases.
  absl::Duration total() const { return cursor_ - begin_; }
  absl::Time begin() const { return begin_; }

 private:
  absl::Time begin_;
  absl::Time cursor_;
  std::array<absl::Duration, kPhases> spent_{};
};

}  // namespace baton::router
