// The two halves of AllOpCases.
#pragma once

#include <vector>

#include "device/conformance/op_case.h"

namespace baton::device {

std::vector<OpCase> WeightOpCases(bool large);  // ops that take weights
std::vector<OpCase> RowOpCases(bool large);     // all others

}  // namespace baton::device
