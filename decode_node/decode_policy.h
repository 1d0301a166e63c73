// Continuous batching: one token a step for every running sequence, chunks for prompts that are
// computed here and for sequences that must be computed again.
#pragma once

#include "engine/batch_policy.h"

namespace baton::decode_node {

class DecodePolicy final : public engine::BatchPolicy {
 public:
  // At most `batch_max` sequences in a step. `chunk_tokens`: what of a step chunks may take, over
  // all sequences, beside those that decode: it bounds how much later their next token comes.
  explicit DecodePolicy(int32_t batch_max, int32_t chunk_tokens = 64)
      : batch_max_(batch_max), chunk_tokens_(chunk_tokens) {}

  // Sequences run in order of arrival. Where nobody decodes, a chunk takes the whole step. Where
  // the pool cannot give every one of them its next block, the latest arrivals give up theirs: they
  // wait until the pool holds all that they have written so far, and are then computed again in
  // chunks between the others' steps. Their output is the same (design promise 1).
  engine::StepPlan Plan(const engine::EngineView& view) override;

 private:
  const int32_t batch_max_;
  const int32_t chunk_tokens_;
};

}  // namespace baton::decode_node
