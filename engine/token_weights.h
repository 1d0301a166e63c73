// Passes over a whole row of logits. A vocabulary has 50,000 to 250,000 of them, and each sequence
// of a batch has its own row in each step, so these are the loops of the sampler that must be fast.
//
// All run over sixteen lanes in a fixed order and without fused multiply-adds, so that every
// compiler and every instruction set gives the same bits.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace baton::engine {

// The first index whose value is infinite or not a number; -1: all are finite.
int64_t FirstNotFinite(absl::Span<const float> logits);

// The highest value. REQUIRES: not empty.
float Highest(absl::Span<const float> logits);
// The lowest index that has it.
int32_t ArgMax(absl::Span<const float> logits);

// exp((logit - highest) / temperature) of every token, 0 where the logit is -infinity, relative
// error below 1e-6 (Cephes expf). The sums are in double, one for each block of kWeightBlock
// tokens.
struct TokenWeights {
  static constexpr int64_t kBlock = 256;
  std::vector<float> weights;
  std::vector<double> block_sums;
  double total = 0;
};
TokenWeights WeightsOf(absl::Span<const float> logits, float highest, double temperature);

// The ids, in ascending order, of all logits that are at least `lowest`.
std::vector<int32_t> IdsFrom(absl::Span<const float> logits, float lowest);

}  // namespace baton::engine
