// One linear layer per head on the thread team.
#pragma once

#include "device/kernels/cpu_context.h"
#include "device/ops.h"

namespace baton::device::kernels {

// The results do not depend on the size of the team. REQUIRES: arguments validated, weights are
// PackedWeights.
void RunHeadLinear(const HeadLinearArgs& args, CpuContext& cpu);

}  // namespace baton::device::kernels
