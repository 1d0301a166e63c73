// MXFP4: blocks of 32 four-bit numbers that share a power of two (OCP Microscaling Formats, 2023).
#pragma once

#include <cstdint>

namespace baton::models {

inline constexpr int64_t kMxfp4BlockElements = 32;
inline constexpr int64_t kMxfp4BlockBytes = 16;

// Fills out[count * 32]. Byte k of a block holds element 2k in its low and 2k + 1 in its high four
// bits: e2m1, which is 0, .5, 1, 1.5, 2, 3, 4 or 6 with a sign. A scale s means 2^(s - 127); 255
// makes its block NaN. All finite values are numbers of bf16 too.
void DequantizeMxfp4(const uint8_t* blocks, const uint8_t* scales, int64_t count, float* out);

}  // namespace baton::models
