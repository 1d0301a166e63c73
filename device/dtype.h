// Element types of tensors, block-quantised GGUF types included.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace baton::device {

// Q4_0: 32 weights = fp16 d, 16 bytes of nibbles (low nibbles are elements 0..15); w = d * (q - 8).
// Q4_1: 32 weights = fp16 d, fp16 m, 16 bytes of nibbles;                          w = d * q + m.
// Q8_0: 32 weights = fp16 d, 32 signed bytes;                                      w = d * q.
// (The block formats of GGUF, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.)
enum class DType : uint8_t { kF32, kF16, kBF16, kI32, kQ8_0, kQ4_0, kQ4_1 };

// Elements that share one stored block: 1 for plain types, 32 for the quantised ones.
int64_t BlockElements(DType dtype);
// Bytes of one such block.
int64_t BlockBytes(DType dtype);
// Bytes of a row of `elements`. REQUIRES: elements % BlockElements(dtype) == 0.
int64_t RowBytes(DType dtype, int64_t elements);
// "f32", "q4_1", ...
absl::string_view DTypeName(DType dtype);

// IEEE half precision and bfloat16, bit for bit; both conversions to float are exact, both from
// float round to nearest even.
float HalfToFloat(uint16_t half);
uint16_t FloatToHalf(float value);
inline float BFloat16ToFloat(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float result;
  __builtin_memcpy(&result, &bits, sizeof(result));
  return result;
}

}  // namespace baton::device
