// Linear layers on the thread team: norm and quantise the input, then multiply strips of the packed
// weights.
#pragma once

#include "device/kernels/cpu_context.h"
#include "device/ops.h"

namespace baton::device::kernels {

// From `panel_rows_min` rows on, strips are unpacked once into a panel that all rows share; below,
// they are read packed. The results do not depend on it, nor on the size of the team. REQUIRES:
// arguments validated, weights are PackedWeights.
void RunLinear(const LinearArgs& args, int64_t panel_rows_min, CpuContext& cpu);
void RunGatedLinear(const GatedLinearArgs& args, int64_t panel_rows_min, CpuContext& cpu);

}  // namespace baton::device::kernels
