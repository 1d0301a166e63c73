// Stored formats that no kernel reads, brought to the nearest of Q4_0, Q4_1 and Q8_0, which the
// packed forms hold as they are.
//
//   Q5_0 IQ4_NL MXFP4 Q3_K   to Q8_0: the same values (of MXFP4 those above 2^-24)
//   INT4_ZERO                to Q4_0, where z is 8 and d is a half throughout: the same values;
//                            otherwise to Q4_1: d and z * d are rounded to fp16
//   Q4_K                     to Q4_1: d * scale and dmin * minimum are rounded to fp16
//   IQ4_XS                   to Q8_0: d * scale is rounded to fp16
//   Q5_1 Q2_K Q5_K Q6_K      to Q8_0: each 32 values are rounded to 255 even steps
//
// docs/numerics.md gives the losses. A scale that fp16 cannot hold (a corrupt file) makes its
// weights infinite or NaN, and nothing worse.
#pragma once

#include <cstdint>
#include <vector>

#include "device/tensor.h"

namespace baton::device::kernels {

// What RepackRow makes of this tensor: its own dtype where kernels read that.
DType RepackedDType(const StoredTensor& stored);

// A row of `cols` elements in `from` as blocks of `to`, a value of RepackedDType for its tensor.
void RepackRow(DType from, const uint8_t* row, int64_t cols, DType to, uint8_t* out);

// The whole tensor in RepackedDType; where that is another one, the result lies in `memory`.
StoredTensor Repack(const StoredTensor& stored, std::vector<uint8_t>& memory);

}  // namespace baton::device::kernels
