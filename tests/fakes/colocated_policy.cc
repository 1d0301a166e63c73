#include "tests/fakes/colocated_policy.h"

#include <algorithm>

namespace baton::fakes {

engine::StepPlan ColocatedPolicy::Plan(const engine::EngineView& view) {
  const auto missing = [&](const engine::Sequence& s) {
    const int64_t longest =
        std::min(context_length_, s.prompt_tokens + s.stop.max_tokens - s.first_index);
    return kvcache::BlocksFor(std::max(longest, s.length()), view.block_tokens) - s.blocks.size();
  };
  int32_t free = view.blocks_free;
  for (const engine::Sequence* s : view.sequences) {
    if (s->blocks.size() > 0) free -= missing(*s);
  }
  engine::StepPlan plan;
  int64_t room = view.batch_tokens_max;
  for (engine::Sequence* s : view.sequences) {
    const int64_t take = std::min({s->uncomputed(), chunk_tokens_, room});
    if (take < 1) break;
    if (s->blocks.size() == 0) {
      if (missing(*s) > free) break;
      free -= missing(*s);
    }
    room -= take;
    plan.run.push_back({s, take});
  }
  return plan;
}

}  // namespace baton::fakes
