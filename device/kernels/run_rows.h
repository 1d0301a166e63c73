// Ops that treat each row for itself: embedding, norm, rotation, appending to the cache, gathering.
#pragma once

#include "device/kernels/cpu_context.h"
#include "device/ops.h"

namespace baton::device::kernels {

// REQUIRES for each: arguments validated; weights are PackedWeights.
void RunEmbed(const EmbedArgs& args, CpuContext& cpu);
void RunRmsNorm(const RmsNormArgs& args, CpuContext& cpu);
void RunRope(const RopeArgs& args, CpuContext& cpu);
void RunAppendKv(const AppendKvArgs& args, CpuContext& cpu);
void RunCopyHeads(const CopyHeadsArgs& args, CpuContext& cpu);
void RunGatherRows(const GatherRowsArgs& args, CpuContext& cpu);

}  // namespace baton::device::kernels
