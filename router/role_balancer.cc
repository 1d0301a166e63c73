#include "router/role_balancer.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace baton::router {
namespace {

// Of its blocks, what a node without room uses.
constexpr double kStarvedShare = 0.9;

// Nodes of one role that take work.
struct Kind {
  int64_t nodes = 0;
  int64_t starved = 0;  // of them: without room for the sequences that they have
  int64_t waiting = 0;
  int64_t blocks_used = 0;
  int64_t blocks_total = 0;
};

Kind CountKind(absl::Span<const RoleNode> nodes, bool prefill) {
  Kind kind;
  for (const RoleNode& node : nodes) {
    if (node.prefill != prefill || node.draining) continue;
    ++kind.nodes;
    kind.waiting += node.waiting;
    if (node.waiting > 0 && node.blocks_used >= kStarvedShare * node.blocks_total) ++kind.starved;
    kind.blocks_used += node.blocks_used;
    kind.blocks_total += node.blocks_total;
  }
  return kind;
}

std::optional<RoleMoveReason> NeedOf(const Kind& prefill, const Kind& decode,
                                     const RoleDemand& demand) {
  if (decode.nodes == 0) return RoleMoveReason::kDecodeMissing;
  if (prefill.nodes == 0 && demand.prefill_needed) return RoleMoveReason::kPrefillMissing;
  if (decode.starved == decode.nodes) return RoleMoveReason::kDecodeBusy;
  if (demand.waiting == 0) return std::nullopt;
  if (demand.for_prefill) return RoleMoveReason::kPrefillBusy;
  if (demand.for_decode) return RoleMoveReason::kDecodeBusy;
  return std::nullopt;
}

bool Missing(RoleMoveReason need) {
  return need == RoleMoveReason::kPrefillMissing || need == RoleMoveReason::kDecodeMissing;
}

}  // namespace

absl::string_view RoleMoveReasonName(RoleMoveReason reason) {
  switch (reason) {
    case RoleMoveReason::kPrefillMissing:
      return "prefill_missing";
    case RoleMoveReason::kDecodeMissing:
      return "decode_missing";
    case RoleMoveReason::kPrefillBusy:
      return "prefill_busy";
    case RoleMoveReason::kDecodeBusy:
      return "decode_busy";
  }
  return "unknown";
}

bool ToPrefill(RoleMoveReason reason) {
  return reason == RoleMoveReason::kPrefillMissing || reason == RoleMoveReason::kPrefillBusy;
}

std::optional<RoleMove> RoleBalancer::Decide(absl::Span<const RoleNode> nodes,
                                             const RoleDemand& demand, absl::Time now) {
  const Kind prefill = CountKind(nodes, true);
  const Kind decode = CountKind(nodes, false);
  std::optional<RoleMoveReason> need = NeedOf(prefill, decode, demand);
  // Between two looks of admission the next in line may just be free to begin.
  if (!need && demand.waiting > 0 && need_ && !Missing(*need_)) need = need_;
  if (need != need_) since_ = now;
  need_ = need;
  if (!need || now - since_ < options_.hold) return std::nullopt;
  // One at a time: what a node that is on its way will bring is not known yet.
  const bool under_way = std::any_of(nodes.begin(), nodes.end(), [](const RoleNode& node) {
    return node.movable && node.draining;
  });
  if (under_way || (!Missing(*need) && now - last_move_ < options_.dwell)) return std::nullopt;
  RoleMove move;
  move.reason = *need;
  move.to_prefill = ToPrefill(*need);
  const Kind& from = move.to_prefill ? decode : prefill;
  if (from.nodes < 2) return std::nullopt;
  const RoleNode* best = nullptr;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const RoleNode& node = nodes[i];
    if (!node.movable || node.draining || node.prefill == move.to_prefill) continue;
    if (best != nullptr && node.sequences >= best->sequences) continue;
    // The streams of a decode node need room on the others.
    const int64_t rest = from.blocks_total - node.blocks_total;
    if (move.to_prefill && !Missing(*need) &&
        static_cast<double>(from.blocks_used) > options_.room * static_cast<double>(rest)) {
      continue;
    }
    best = &node;
    move.node = i;
  }
  if (best == nullptr) return std::nullopt;
  last_move_ = now;
  const absl::string_view wanted = move.to_prefill ? "prefill" : "decode";
  if (Missing(*need)) {
    move.why = absl::StrFormat("there is no %s node", wanted);
  } else {
    move.why = absl::StrFormat(
        "%s nodes have held work up for %.1f s: %d requests in line, %d sequences wait on decode "
        "nodes, which use %d of %d blocks; %d %s nodes stay",
        wanted, absl::ToDoubleSeconds(now - since_), demand.waiting, decode.waiting,
        decode.blocks_used, decode.blocks_total, from.nodes - 1,
        move.to_prefill ? "decode" : "prefill");
  }
  return move;
}

}  // namespace baton::router
