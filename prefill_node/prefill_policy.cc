#include "prefill_node/prefill_policy.h"

#include <algorithm>

namespace baton::prefill_node {
namespace {

constexpr int64_t kSharers = 4;

// The longest chunk of at most `room` tokens that ends at a multiple of `unit` or at the prompt's
// end; 0 when none fits.
int64_t Chunk(const engine::Sequence& sequence, int64_t room, int32_t unit) {
  if (sequence.uncomputed() <= room) return sequence.uncomputed();
  const int64_t end = (sequence.computed + room) / unit * unit;
  return std::max<int64_t>(end - sequence.computed, 0);
}

}  // namespace

engine::StepPlan PrefillPolicy::Plan(const engine::EngineView& view) {
  // Who may take part: prompts under way keep the right to the rest of their blocks.
  int64_t free = view.blocks_free;
  std::vector<engine::Sequence*> ready;
  for (engine::Sequence* sequence : view.sequences) {
    if (sequence->blocks.size() == 0) continue;
    free -= BlocksLacking(*sequence, sequence->uncomputed(), view.block_tokens);
  }
  for (engine::Sequence* sequence : view.sequences) {
    if (static_cast<int64_t>(ready.size()) == kSharers) break;
    if (sequence->blocks.size() == 0) {
      const int32_t lacking = BlocksLacking(*sequence, sequence->uncomputed(), view.block_tokens);
      if (lacking > free) break;  // nobody later overtakes it
      free -= lacking;
    }
    ready.push_back(sequence);
  }
  engine::StepPlan plan;
  if (ready.empty()) return plan;
  int64_t room = std::min(step_tokens_, view.batch_tokens_max);
  // Steps that are smaller than a block cannot end where blocks do.
  const int32_t unit = room < view.block_tokens ? 1 : view.block_tokens;
  const int64_t share = std::max<int64_t>(room / static_cast<int64_t>(ready.size()),
                                          std::min<int64_t>(room, view.block_tokens));
  for (engine::Sequence* sequence : ready) {
    const int64_t take = Chunk(*sequence, std::min(share, room), unit);
    plan.run.push_back({sequence, take});
    room -= take;
  }
  for (engine::StepPlan::Item& item : plan.run) {
    const int64_t take = Chunk(*item.sequence, item.tokens + room, unit);
    room -= take - item.tokens;
    item.tokens = take;
  }
  plan.run.erase(std::remove_if(plan.run.begin(), plan.run.end(),
                                [](const auto& item) { return item.tokens == 0; }),
                 plan.run.end());
  return plan;
}

}  // namespace baton::prefill_node
