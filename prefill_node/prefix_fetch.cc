#include "prefill_node/prefix_fetch.h"

#include <algorithm>

namespace baton::prefill_node {
namespace {

constexpr absl::Duration kTimeoutMin = absl::Milliseconds(200);
constexpr absl::Duration kTimeoutMax = absl::Seconds(5);

}  // namespace

FetchPlan PlanFetch(const FetchFacts& facts) {
  FetchPlan plan;
  const int32_t end = std::min(facts.blocks_there, facts.blocks_reusable);
  if (end <= facts.blocks_here) return plan;
  const int32_t blocks = end - facts.blocks_here;
  absl::Duration compute = kTimeoutMax;
  if (facts.tokens_per_s > 0) {
    compute = absl::Seconds(double{1} * blocks * facts.block_tokens / facts.tokens_per_s);
  }
  if (facts.tokens_per_s > 0 && facts.bytes_per_s > 0) {
    const double bytes = static_cast<double>(blocks) * static_cast<double>(facts.block_bytes);
    if (absl::Seconds(bytes / facts.bytes_per_s) >= compute) return plan;
  }
  plan.begin = facts.blocks_here;
  plan.end = end;
  plan.timeout = std::clamp(compute, kTimeoutMin, kTimeoutMax);
  return plan;
}

}  // namespace baton::prefill_node
