// When a node of role `any` becomes a prefill node or a decode node.
//
// What counts is what requests wait for: those in line say whether prefill nodes or decode nodes
// hold them up, and decode nodes whether they are out of blocks. Where that has lasted, one node of
// the other kind is moved, and after it none for a while. Nothing is moved because a kind is idle:
// with nobody waiting, nobody would gain.
// docs/scheduling.md has the rules.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace baton::router {

enum class RoleMoveReason : uint8_t {
  kPrefillMissing,  // no prefill node, and nothing can be served without
  kDecodeMissing,   // no decode node
  kPrefillBusy,     // requests wait for prefill nodes
  kDecodeBusy,      // requests wait for decode nodes, or sequences there for blocks
};
inline constexpr size_t kRoleMoveReasons = 4;
absl::string_view RoleMoveReasonName(RoleMoveReason reason);
// Whether it makes a node a prefill node; otherwise a decode node.
bool ToPrefill(RoleMoveReason reason);

// A registered node, as far as moving is concerned.
struct RoleNode {
  bool prefill = false;     // its role now; otherwise decode
  bool movable = false;     // of role any
  bool draining = false;    // on its way, or at its end
  int64_t sequences = 0;    // that it works on
  int64_t waiting = 0;      // of them, those that no step takes
  int64_t blocks_used = 0;  // by sequences, not by the cache
  int64_t blocks_total = 0;
};

// What requests wait for.
struct RoleDemand {
  bool prefill_needed = true;  // nothing can be served without a prefill node
  int32_t waiting = 0;         // requests in line
  bool for_prefill = false;    // the next of them waits for a prefill node
  bool for_decode = false;     // ... for a decode node
};

struct RoleMove {
  size_t node = 0;  // index
  bool to_prefill = false;
  RoleMoveReason reason = RoleMoveReason::kPrefillBusy;
  std::string why;  // a sentence for the log
};

// Not thread-safe.
class RoleBalancer {
 public:
  struct Options {
    absl::Duration hold;   // a need must last so long
    absl::Duration dwell;  // least time between two moves
    double room = 0.8;     // most of their blocks that remaining decode nodes may use
  };
  explicit RoleBalancer(const Options& options) : options_(options) {}

  // To be called again and again. The move that is due now: the caller must begin it.
  std::optional<RoleMove> Decide(absl::Span<const RoleNode> nodes, const RoleDemand& demand,
                                 absl::Time now);

 private:
  const Options options_;
  // The need that was there at the last call, and since when.
  std::optional<RoleMoveReason> need_;
  absl::Time since_;
  absl::Time last_move_ = absl::InfinitePast();
};

}  // namespace baton::router
