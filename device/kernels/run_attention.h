// Paged causal attention on the thread team.
#pragma once

#include "device/kernels/cpu_context.h"
#include "device/ops.h"

namespace baton::device::kernels {

// Work is cut into items of one sequence, one KV head and `row_block` new tokens (all query heads
// of the group together). Where there are fewer items than twice the team, spans of 256 keys become
// items too. Spans are merged in ascending order in both cases, so neither the cut nor the team
// changes a bit. REQUIRES: arguments validated.
void RunAttention(const AttentionArgs& args, int32_t row_block, CpuContext& cpu);

}  // namespace baton::device::kernels
