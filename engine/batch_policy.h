// What to run next: where prefill and decode nodes differ.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "engine/sequence.h"

namespace baton::engine {

// What a policy sees.
struct EngineView {
  // Every sequence of the engine, in order of arrival; preempted ones keep their place.
  const std::vector<Sequence*>& sequences;
  int32_t blocks_free = 0;
  int32_t block_tokens = 0;
  int32_t batch_tokens_max = 0;  // that one step of the model takes
};

struct StepPlan {
  struct Item {
    Sequence* sequence = nullptr;
    int64_t tokens = 0;  // 1 .. sequence->uncomputed()
    // Computed after them, to be kept as far as they turn out to be what is drawn. Filled in by the
    // engine, only where `tokens` are all that is uncomputed.
    std::vector<int32_t> draft;
  };
  std::vector<Item> run;           // empty: wait for work, or for blocks
  std::vector<Sequence*> preempt;  // give their blocks up first; they are computed again later
};

class BatchPolicy {
 public:
  virtual ~BatchPolicy() = default;
  // Chooses the work of one step. Called on the engine's thread; must not block. The blocks that
  // the items need beyond those they have must be free once `preempt` gave theirs up; an item that
  // gets none is left out of the step.
  virtual StepPlan Plan(const EngineView& view) = 0;
};

// Blocks that `sequence` lacks for `tokens` more computed tokens.
inline int32_t BlocksLacking(const Sequence& sequence, int64_t tokens, int32_t block_tokens) {
  const int32_t needed = kvcache::BlocksFor(sequence.computed + tokens, block_tokens);
  return needed > sequence.blocks.size() ? needed - sequence.blocks.size() : 0;
}

}  // namespace baton::engine
