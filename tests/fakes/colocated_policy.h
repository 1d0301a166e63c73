// Both phases in one engine, as simply as can be: what disaggregated output is compared with.
#pragma once

#include "engine/batch_policy.h"

namespace baton::fakes {

// A sequence starts when the pool holds all the blocks that it may ever need, so that nobody is
// ever preempted; it then runs in every step, in chunks of at most `chunk_tokens`.
class ColocatedPolicy final : public engine::BatchPolicy {
 public:
  explicit ColocatedPolicy(int64_t chunk_tokens, int64_t context_length)
      : chunk_tokens_(chunk_tokens), context_length_(context_length) {}
  engine::StepPlan Plan(const engine::EngineView& view) override;

 private:
  const int64_t chunk_tokens_;
  const int64_t context_length_;
};

}  // namespace baton::fakes
