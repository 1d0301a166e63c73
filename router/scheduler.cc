#include "router/scheduler.h"

#include <algorithm>

#include "router/scorers/free_blocks.h"
#include "router/scorers/queue.h"

namespace baton::router {
namespace {

// Walks the candidates from `turn` on, so that the first of several equal ones differs from request
// to request.
template <typename Candidate, typename Score>
std::optional<size_t> Best(absl::Span<const Candidate> candidates, uint64_t turn,
                           const Score& score) {
  std::optional<size_t> best;
  double best_score = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const size_t at = (turn + i) % candidates.size();
    const std::optional<double> value = score(candidates[at]);
    if (value && (!best || *value > best_score)) {
      best = at;
      best_score = *value;
    }
  }
  return best;
}

}  // namespace

std::optional<size_t> PickPrefill(absl::Span<const PrefillCandidate> candidates,
                                  int64_t prompt_tokens, uint64_t turn) {
  double fastest = 0;
  for (const PrefillCandidate& node : candidates) fastest = std::max(fastest, node.tokens_per_s);
  if (fastest <= 0) fastest = kUnmeasuredTokensPerS;
  return Best(candidates, turn, [&](const PrefillCandidate& node) -> std::optional<double> {
    if (!node.available || prompt_tokens + 1 > node.context_length) return std::nullopt;
    const double rate = node.tokens_per_s > 0 ? node.tokens_per_s : fastest;
    return QueueScore(ExpectedPrefillSeconds(node.queued_tokens, prompt_tokens, rate));
  });
}

std::optional<size_t> PickDecode(absl::Span<const DecodeCandidate> candidates,
                                 int64_t prompt_tokens, uint64_t turn) {
  return Best(candidates, turn, [&](const DecodeCandidate& node) -> std::optional<double> {
    if (!node.available || prompt_tokens + 1 > node.context_length) return std::nullopt;
    const int64_t needed = (prompt_tokens + node.block_tokens) / node.block_tokens;
    // A node that has just joined has not said yet how many blocks it has.
    if (node.blocks_total > 0 && needed > node.blocks_total) return std::nullopt;
    return 0.5 * FreeBlocksScore(node.blocks_free, needed, node.blocks_total) +
           0.5 * BatchScore(node.sequences);
  });
}

}  // namespace baton::router
