// Chunked, batched prefill.
#pragma once

#include "engine/batch_policy.h"

namespace baton::prefill_node {

class PrefillPolicy final : public engine::BatchPolicy {
 public:
  // At most `step_tokens` prompt tokens in a step, over all sequences.
  explicit PrefillPolicy(int32_t step_tokens) : step_tokens_(step_tokens) {}

  // Prompts start in order of arrival, as soon as the pool holds all their blocks. Up to four share
  // a step: each gets at least a quarter of it, so that a short prompt does not wait for a long
  // one; what a share leaves over goes to the earliest. A chunk ends at a block's end, or at the
  // prompt's, unless a whole step is smaller than a block.
  engine::StepPlan Plan(const engine::EngineView& view) override;

 private:
  const int32_t step_tokens_;
};

}  // namespace baton::prefill_node
