// The block formats of weights in GGUF files and in four-bit safetensors, and what they mean.
//
// d and m are fp16 unless said otherwise; nibbles of 32 weights hold elements 0..15 in the low and
// 16..31 in the high halves of 16 bytes.
//
//   Q5_0, Q5_1       32 weights  w = d * (q - 16), w = d * q + m
//   Q2_K Q4_K Q5_K  256 weights  w = (d * scale) * q - dmin * minimum, scales of 16, 32, 32 weights
//   Q3_K Q6_K       256 weights  w = (d * scale) * q, scales of 16 weights
//   IQ4_NL           32 weights  w = d * table[q], a table of 16 unevenly spaced integers
//   IQ4_XS          256 weights  w = (d * scale) * table[q], scales of 32 weights
//   MXFP4            32 weights  w = 2^(e - 128) * table[q], twice the values of e2m1
//   INT4_ZERO        32 weights  float d, one byte z, 16 bytes of nibbles; w = d * (q - z): what
//   AWQ
//                                and GPTQ store in another order
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; Q4_0, Q4_1, Q8_0: dtype.h.)
//
// Every product and difference below is one float32 operation in the order written, which is that
// of ggml: the values are the same bits as those of its own converters.
#pragma once

#include <cstdint>

#include "device/dtype.h"

namespace baton::device {

// Values of DType that only files have: no kernel reads them, Device::Prepare packs them as
// something else (kernels/repack.h). They follow those of dtype.h, which names what is computed
// with.
struct StoredFormat {
  static constexpr DType kQ5_0 = static_cast<DType>(7);
  static constexpr DType kQ5_1 = static_cast<DType>(8);
  static constexpr DType kQ2_K = static_cast<DType>(9);
  static constexpr DType kQ3_K = static_cast<DType>(10);
  static constexpr DType kQ4_K = static_cast<DType>(11);
  static constexpr DType kQ5_K = static_cast<DType>(12);
  static constexpr DType kQ6_K = static_cast<DType>(13);
  static constexpr DType kIq4Nl = static_cast<DType>(14);
  static constexpr DType kIq4Xs = static_cast<DType>(15);
  static constexpr DType kMxfp4 = static_cast<DType>(16);
  static constexpr DType kInt4Zero = static_cast<DType>(17);
};

// `count` elements from `data` on. REQUIRES: whole blocks, not i32.
void Dequantize(DType dtype, const void* data, int64_t count, float* out);

// The integers that IQ4_NL and IQ4_XS multiply with their scale.
extern const int8_t kIq4Table[16];
// Twice the values of e2m1, for MXFP4.
extern const int8_t kMxfp4Table[16];

// Scales and minima of Q4_K and Q5_K: eight pairs of six bits in 12 bytes.
struct SixBitPair {
  int scale, minimum;
};
SixBitPair ReadSixBitPair(const uint8_t* packed, int index);

// The scales of Q3_K, -32..31: sixteen of six bits in 12 bytes.
int ReadQ3Scale(const uint8_t* packed, int index);
// The quants of Q3_K, -4..3, from the start of the block.
int ReadQ3Quant(const uint8_t* block, int index);
// The scales of IQ4_XS, -32..31, from the start of the block.
int ReadIq4XsScale(const uint8_t* block, int index);
// 2^(e - 128) of the first byte of an MXFP4 block.
float ReadMxfp4Scale(const uint8_t* block);

}  // namespace baton::device
