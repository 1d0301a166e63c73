#include "router/scheduler.h"

#include <algorithm>
#include <vector>

#include "router/scorers/free_blocks.h"
#include "router/scorers/latency.h"
#include "router/scorers/prefix_affinity.h"
#include "router/scorers/queue.h"
#include "router/scorers/slo_headroom.h"

namespace baton::router {
namespace {

constexpr double kFilteredOut = -1;

// The best of the scores that are not negative, from `turn` on, so that the first of several equal
// ones differs from request to request.
std::optional<size_t> Best(absl::Span<const double> scores, uint64_t turn) {
  std::optional<size_t> best;
  const size_t count = scores.size();
  size_t at = count > 0 ? turn % count : 0;
  for (size_t i = 0; i < count; ++i) {
    if (scores[at] >= 0 && (!best || scores[at] > scores[*best])) best = at;
    if (++at == count) at = 0;
  }
  return best;
}

int64_t Uncached(int64_t prompt_tokens, int64_t cached_tokens) {
  // The last token is always computed: its logits give the first token of output.
  return std::max<int64_t>(prompt_tokens - cached_tokens, 1);
}

double FastestRate(absl::Span<const PrefillCandidate> candidates) {
  double fastest = 0;
  for (const PrefillCandidate& node : candidates) fastest = std::max(fastest, node.tokens_per_s);
  return fastest > 0 ? fastest : kUnmeasuredTokensPerS;
}

double PrefillSeconds(const PrefillCandidate& node, double tokens, double fastest) {
  if (node.prefill.known) return node.prefill.At(tokens);
  return tokens / (node.tokens_per_s > 0 ? node.tokens_per_s : fastest);
}

// What of the hand-over from `node` is not hidden behind prefill: the slower end decides.
double ExposedSeconds(const Placement& placement, const Line& node, const DecodeCandidate* decode) {
  if (decode == nullptr) return 0;
  const double bytes =
      static_cast<double>(Uncached(placement.prompt_tokens, decode->cached_tokens)) *
      static_cast<double>(placement.kv_bytes_per_token);
  double exposed = 0;
  if (node.known) exposed = node.At(bytes);
  if (decode->transfer.known) exposed = std::max(exposed, decode->transfer.At(bytes));
  return exposed;
}

bool Fits(const Placement& placement, const PrefillCandidate& node) {
  return node.available && placement.prompt_tokens + 1 <= node.context_length;
}

int64_t BlocksNeeded(const Placement& placement, const DecodeCandidate& node) {
  return (placement.prompt_tokens + node.block_tokens) / node.block_tokens;
}

bool Fits(const Placement& placement, const DecodeCandidate& node) {
  if (!node.available || placement.prompt_tokens + 1 > node.context_length) return false;
  // A node that has just joined has not said yet how many blocks it has.
  return node.blocks_total <= 0 || BlocksNeeded(placement, node) <= node.blocks_total;
}

// Seconds of a step with one sequence more, 0 where no node has been measured. Nodes that have not
// been count as fast as the fastest.
class StepTimes {
 public:
  explicit StepTimes(absl::Span<const DecodeCandidate> candidates) {
    for (const DecodeCandidate& node : candidates) {
      if (!node.step.known) continue;
      const double at_rest = node.step.At(kStepBaseSequences + 1);
      if (fastest_ <= 0 || at_rest < fastest_) fastest_ = at_rest;
    }
  }
  double Of(const DecodeCandidate& node) const {
    const double batch = kStepBaseSequences + static_cast<double>(node.sequences) + 1;
    if (node.step.known) return node.step.At(batch);
    return (fastest_ > 0 ? fastest_ : 1) * batch / (kStepBaseSequences + 1);
  }
  bool measured() const { return fastest_ > 0; }

 private:
  double fastest_ = 0;
};

// What decode on `node` is worth, whoever prefills.
double DecodeScore(const SchedulePolicy& policy, const Placement& placement,
                   const DecodeCandidate& node, double step, double best_step) {
  const int64_t missing = BlocksNeeded(placement, node) - node.cached_tokens / node.block_tokens;
  return policy.free_blocks_weight * FreeBlocksScore(node.blocks_free, missing, node.blocks_total) +
         policy.batch_weight * LatencyScore(step, best_step) +
         policy.prefix_weight * PrefixAffinityScore(node.cached_tokens, placement.prompt_tokens) +
         policy.headroom_weight * SloHeadroomScore(step, placement.tpot_slo_s);
}

double LeastStep(const Placement& placement, absl::Span<const DecodeCandidate> candidates,
                 const StepTimes& steps) {
  double least = -1;
  for (const DecodeCandidate& node : candidates) {
    if (!Fits(placement, node)) continue;
    const double step = steps.Of(node);
    if (least < 0 || step < least) least = step;
  }
  return least;
}

std::optional<size_t> PickDecode(const SchedulePolicy& policy, const Placement& placement,
                                 absl::Span<const DecodeCandidate> candidates,
                                 const StepTimes& steps) {
  const double best = LeastStep(placement, candidates, steps);
  std::vector<double> scores(candidates.size(), kFilteredOut);
  for (size_t i = 0; i < candidates.size(); ++i) {
    const DecodeCandidate& node = candidates[i];
    if (!Fits(placement, node)) continue;
    scores[i] = DecodeScore(policy, placement, node, steps.Of(node), best);
  }
  return Best(scores, placement.turn);
}

// The cost of prefill on a decode node: the wait of this request, and what it takes from the
// sequences that run there.
double LocalCost(const SchedulePolicy& policy, const Placement& placement,
                 const DecodeCandidate& node, const Line& line) {
  const double uncached =
      static_cast<double>(Uncached(placement.prompt_tokens, node.cached_tokens));
  return line.At(uncached + static_cast<double>(node.queued_tokens)) +
         policy.interference * static_cast<double>(node.sequences) * line.unit_s * uncached;
}

// The best decode node to prefill on, with its cost; `fallback` stands for nodes that are not
// measured.
struct LocalPick {
  std::optional<size_t> node;
  double cost_s = 0;
};
LocalPick PickLocal(const SchedulePolicy& policy, const Placement& placement,
                    absl::Span<const DecodeCandidate> candidates, const StepTimes& steps) {
  Line fallback{0, 1 / kUnmeasuredTokensPerS, false};
  for (const DecodeCandidate& node : candidates) {
    if (node.prefill.known && (!fallback.known || node.prefill.unit_s < fallback.unit_s)) {
      fallback = node.prefill;
    }
  }
  std::vector<double> costs(candidates.size(), kFilteredOut);
  double least = -1;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const DecodeCandidate& node = candidates[i];
    if (!Fits(placement, node)) continue;
    costs[i] = LocalCost(policy, placement, node, node.prefill.known ? node.prefill : fallback);
    if (least < 0 || costs[i] < least) least = costs[i];
  }
  const double best_step = LeastStep(placement, candidates, steps);
  std::vector<double> scores(candidates.size(), kFilteredOut);
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (costs[i] < 0) continue;
    scores[i] = policy.latency_weight * LatencyScore(costs[i], least) +
                DecodeScore(policy, placement, candidates[i], steps.Of(candidates[i]), best_step);
  }
  LocalPick pick;
  pick.node = Best(scores, placement.turn);
  if (pick.node) pick.cost_s = costs[*pick.node];
  return pick;
}

struct RemoteCost {
  double ttft_s = 0;
  double work_s = 0;       // of it, without the queue
  double cost_s = 0;       // with the exposed part of the hand-over
  double idle_cost_s = 0;  // the same without the queue
};
RemoteCost CostOf(const Placement& placement, const PrefillCandidate& node,
                  const DecodeCandidate* decode, double fastest) {
  const double uncached =
      static_cast<double>(Uncached(placement.prompt_tokens, node.cached_tokens));
  const double exposed = ExposedSeconds(placement, node.transfer, decode);
  RemoteCost cost;
  cost.ttft_s = PrefillSeconds(node, uncached + static_cast<double>(node.queued_tokens), fastest);
  cost.cost_s = cost.ttft_s + exposed;
  cost.work_s = PrefillSeconds(node, uncached, fastest);
  cost.idle_cost_s = cost.work_s + exposed;
  return cost;
}

// Makes `decision` one for prefill on the decode node. Where nothing is known of the node there is
// no estimate: none is better than a guess.
void GoLocal(const Placement& placement, const LocalPick& local, PlaceReason reason,
             absl::Span<const DecodeCandidate> decode, Decision* decision) {
  decision->prefill.reset();
  decision->decode = local.node;
  decision->reason = reason;
  decision->ttft_s = -1;
  decision->queue_s = decision->work_s = 0;
  decision->prompts_ahead = 0;
  if (!local.node || !decode[*local.node].prefill.known) return;
  const DecodeCandidate& node = decode[*local.node];
  const int64_t tokens = Uncached(placement.prompt_tokens, node.cached_tokens) + node.queued_tokens;
  decision->ttft_s = node.prefill.At(static_cast<double>(tokens));
  decision->queue_s = node.prefill.unit_s * static_cast<double>(node.queued_tokens);
  decision->work_s = decision->ttft_s - decision->queue_s;
  decision->prompts_ahead = node.prompts;
}

}  // namespace

absl::string_view PlaceReasonName(PlaceReason reason) {
  constexpr absl::string_view kNames[kPlaceReasons] = {
      "always",          "prefill_cheaper", "long_prompt",  "not_measured", "never",
      "no_prefill_node", "short_rest",      "prefill_busy", "probe"};
  return kNames[static_cast<size_t>(reason)];
}

bool IsLocal(PlaceReason reason) { return reason >= PlaceReason::kNever; }

std::optional<size_t> PickPrefill(const SchedulePolicy& policy, const Placement& placement,
                                  absl::Span<const PrefillCandidate> candidates,
                                  const DecodeCandidate* decode) {
  const double fastest = FastestRate(candidates);
  std::vector<double> costs(candidates.size(), kFilteredOut);
  double least = -1;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!Fits(placement, candidates[i])) continue;
    costs[i] = CostOf(placement, candidates[i], decode, fastest).cost_s;
    if (least < 0 || costs[i] < least) least = costs[i];
  }
  std::vector<double> scores(candidates.size(), kFilteredOut);
  for (size_t i = 0; i < candidates.size(); ++i) {
    const PrefillCandidate& node = candidates[i];
    if (costs[i] < 0) continue;
    const double wait = PrefillSeconds(node, static_cast<double>(node.queued_tokens), fastest);
    scores[i] =
        policy.latency_weight * LatencyScore(costs[i], least) +
        policy.queue_weight * QueueScore(wait) +
        policy.prefix_weight * PrefixAffinityScore(node.cached_tokens, placement.prompt_tokens) +
        policy.headroom_weight * SloHeadroomScore(costs[i], placement.ttft_slo_s);
  }
  return Best(scores, placement.turn);
}

Decision Decide(const SchedulePolicy& policy, const Placement& placement,
                absl::Span<const PrefillCandidate> prefill,
                absl::Span<const DecodeCandidate> decode) {
  Decision decision;
  const bool choose = policy.disaggregate == Disaggregate::kAuto;
  if (choose) decision.reason = PlaceReason::kPrefillCheaper;
  const StepTimes steps(decode);
  const auto finish = [&] {
    if (decision.decode && steps.measured()) decision.tpot_s = steps.Of(decode[*decision.decode]);
    return decision;
  };
  LocalPick local;
  if (policy.disaggregate != Disaggregate::kAlways) {
    local = PickLocal(policy, placement, decode, steps);
    if (policy.disaggregate == Disaggregate::kNever) {
      GoLocal(placement, local, PlaceReason::kNever, decode, &decision);
      return finish();
    }
  }
  if (placement.decodes) decision.decode = PickDecode(policy, placement, decode, steps);
  const DecodeCandidate* receiver = decision.decode ? &decode[*decision.decode] : nullptr;
  if (receiver != nullptr || !placement.decodes) {
    decision.prefill = PickPrefill(policy, placement, prefill, receiver);
  }
  if (!decision.prefill) {
    if (local.node) GoLocal(placement, local, PlaceReason::kNoPrefillNode, decode, &decision);
    return finish();
  }
  const RemoteCost remote =
      CostOf(placement, prefill[*decision.prefill], receiver, FastestRate(prefill));
  decision.ttft_s = remote.ttft_s;
  decision.work_s = remote.work_s;
  decision.prompts_ahead = prefill[*decision.prefill].prompts;
  decision.queue_s = remote.ttft_s - remote.work_s;
  decision.remote_cost_s = remote.cost_s;
  if (!local.node) return finish();
  const DecodeCandidate& node = decode[*local.node];
  const int64_t uncached = Uncached(placement.prompt_tokens, node.cached_tokens);
  if (node.prefill.known) decision.local_cost_s = local.cost_s;
  if (uncached > policy.local_tokens_max) {
    decision.reason = PlaceReason::kLongPrompt;
  } else if (!node.prefill.known) {
    decision.reason = PlaceReason::kNotMeasured;
    if (uncached <= kProbeTokens) GoLocal(placement, local, PlaceReason::kProbe, decode, &decision);
  } else if (local.cost_s < remote.cost_s) {
    const bool short_rest = local.cost_s < remote.idle_cost_s;
    GoLocal(placement, local, short_rest ? PlaceReason::kShortRest : PlaceReason::kPrefillBusy,
            decode, &decision);
  }
  return finish();
}

}  // namespace baton::router
