#include "decode_node/decode_policy.h"

#include <algorithm>

namespace baton::decode_node {
namespace {

// Blocks of the arrivals after `sequence`.
int32_t BlocksAfter(const engine::Sequence* sequence,
                    const std::vector<engine::Sequence*>& arrivals) {
  int32_t blocks = 0;
  for (auto it = arrivals.rbegin(); it != arrivals.rend() && *it != sequence; ++it) {
    blocks += (*it)->blocks.size();
  }
  return blocks;
}

}  // namespace

engine::StepPlan DecodePolicy::Plan(const engine::EngineView& view) {
  engine::StepPlan plan;
  int32_t free = view.blocks_free;
  int64_t tokens = 0;
  const bool somebody_decodes = std::any_of(
      view.sequences.begin(), view.sequences.end(), [](const engine::Sequence* sequence) {
        return sequence->blocks.size() > 0 && sequence->uncomputed() == 1;
      });
  int64_t chunks =
      somebody_decodes ? std::min(chunk_tokens_, view.batch_tokens_max) : view.batch_tokens_max;
  std::vector<engine::Sequence*> victims = view.sequences;  // the last may lose its blocks
  for (engine::Sequence* sequence : view.sequences) {
    if (static_cast<int32_t>(plan.run.size()) >= batch_max_ || tokens >= view.batch_tokens_max) {
      break;
    }
    if (std::find(plan.preempt.begin(), plan.preempt.end(), sequence) != plan.preempt.end()) break;
    const bool fresh = sequence->blocks.size() == 0;  // preempted before
    int64_t take = std::min<int64_t>(sequence->uncomputed(), view.batch_tokens_max - tokens);
    if (take > 1) take = std::min(take, chunks);
    if (take < 1) continue;
    // A sequence that starts again must find room for all that it has, or it would be preempted at
    // once.
    const int32_t lacking =
        fresh ? BlocksLacking(*sequence, sequence->uncomputed() + 1, view.block_tokens)
              : BlocksLacking(*sequence, take, view.block_tokens);
    // Nothing is taken from the later ones where all of it would not be enough.
    if (free < lacking && free + BlocksAfter(sequence, victims) >= lacking) {
      while (free < lacking) {
        engine::Sequence* victim = victims.back();
        victims.pop_back();
        if (victim->blocks.size() == 0) continue;
        free += victim->blocks.size();
        plan.preempt.push_back(victim);
      }
    }
    if (free < lacking) {
      if (fresh) break;  // and nobody later overtakes it
      continue;
    }
    free -= lacking;
    if (take > 1) chunks -= take;
    tokens += take;
    plan.run.push_back({sequence, take});
  }
  return plan;
}

}  // namespace baton::decode_node
