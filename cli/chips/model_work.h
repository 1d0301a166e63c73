// What one step of a model does, op by op, on one of the chips that share it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/chips/model_shape.h"
#include "device/roofline.h"

namespace baton::cli {

// A step for `sequences` sequences with `new_tokens` tokens each, after `context` tokens of each.
struct StepShape {
  int64_t sequences = 1, new_tokens = 1, context = 0;
  double kv_bytes = 2;  // a number in the cache
  int chips = 1;        // that share the model evenly: heads, columns and experts
};

// In the order of the model. Attention over a latent cache is counted in its absorbed form when a
// sequence has fewer than 171 new tokens, where expanding the keys costs more (the break-even of
// 128 heads of DeepSeek-V3's shape).
std::vector<device::OpWork> StepWork(const ModelShape& model, const StepShape& step);

// One step on one of the chips. All seconds and joules are modelled.
struct StepCost {
  std::vector<std::pair<device::OpWork, device::OpCost>> ops;
  double seconds = 0;
  double joules = 0;                             // of all chips
  double chip_bytes = 0;                         // weights and cache on one chip
  const device::MemoryLevel* level = nullptr;    // that holds them; points into the spec
  device::Bound bound = device::Bound::kMemory;  // of the ops that take most of the time
};

// ResourceExhausted with the numbers when a chip's memory does not hold its share.
absl::StatusOr<StepCost> CostOfStep(const device::ChipSpec& chip, const ModelShape& model,
                                    const StepShape& step);

// The fewest chips, a power of two up to a super-node of 1,024, that hold the weights and the
// step's sequences.
int ChipsNeeded(const device::ChipSpec& chip, const ModelShape& model, const StepShape& step);
// The most sequences of `context` tokens that `chips` chips hold beside the weights.
int64_t SequencesThatFit(const device::ChipSpec& chip, const ModelShape& model,
                         const StepShape& step);

}  // namespace baton::cli
