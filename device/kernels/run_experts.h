// Mixtures of experts on the thread team.
#pragma once

#include "device/kernels/cpu_context.h"
#include "device/ops.h"

namespace baton::device::kernels {

// Rows are grouped by expert, so that each expert's weights are read once for all of its rows;
// every (row, expert) pair is computed for itself and the pairs of a row are added in the order in
// which they were chosen. So a row's bits depend neither on the batch nor on the team. An expert
// with at least `panel_rows_min` rows unpacks its strips as RunLinear does. REQUIRES: arguments
// validated, weights are PackedWeights.
void RunExperts(const ExpertsArgs& args, int64_t panel_rows_min, CpuContext& cpu);

}  // namespace baton::device::kernels
