// The loops behind peaks.h, each from a file that is compiled for its instruction set.
#pragma once

#include <cstdint>

namespace baton::bench {

uint32_t Fp32Avx2(int64_t rounds);
uint32_t Int8Avx2(int64_t rounds);
uint32_t Int8AvxVnni(int64_t rounds);
uint32_t Fp32Avx512(int64_t rounds);
uint32_t Int8Avx512Vnni(int64_t rounds);
uint32_t Bf16Avx512(int64_t rounds);
uint32_t Int8Amx(int64_t rounds);
uint32_t Bf16Amx(int64_t rounds);

// Ops in one round of each: accumulators * lanes * 2 (a multiplication and an addition).
inline constexpr int64_t kFp32Avx2Ops = 12 * 8 * 2;
inline constexpr int64_t kInt8Avx2Ops = 12 * 32 * 2;
inline constexpr int64_t kInt8AvxVnniOps = 12 * 32 * 2;
inline constexpr int64_t kFp32Avx512Ops = 24 * 16 * 2;
inline constexpr int64_t kInt8Avx512VnniOps = 24 * 64 * 2;
inline constexpr int64_t kBf16Avx512Ops = 24 * 32 * 2;
inline constexpr int64_t kInt8AmxOps = 4 * 16 * 16 * 64 * 2;
inline constexpr int64_t kBf16AmxOps = 4 * 16 * 16 * 32 * 2;

}  // namespace baton::bench
