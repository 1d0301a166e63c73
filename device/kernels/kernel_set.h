// Which ISA levels there are, best first, and the choice among them.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "device/kernels/kernel_table.h"

namespace baton::device::kernels {

// `isa` empty: the environment variable BATON_ISA, or else the best level that this CPU has.
// InvalidArgument for an unknown name, FailedPrecondition for a level that the CPU lacks; both name
// what there is.
absl::StatusOr<const KernelTable*> ChooseKernels(const std::string& isa);

}  // namespace baton::device::kernels
