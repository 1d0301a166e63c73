#include <immintrin.h>

#include "bench/machine/peak_loops.h"

namespace baton::bench {

uint32_t Fp32Avx2(int64_t rounds) {
  __m256 acc[12];
  const __m256 a = _mm256_set1_ps(1.0001f), b = _mm256_set1_ps(0.9999f);
  for (__m256& x : acc) x = _mm256_setzero_ps();
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m256& x : acc) x = _mm256_fmadd_ps(a, b, x);
  }
  __m256 sum = acc[0];
  for (const __m256& x : acc) sum = _mm256_xor_ps(sum, x);
  return static_cast<uint32_t>(_mm256_movemask_ps(sum));
}

// The way of CPUs without VNNI: pairs of 8-bit products in 16 bits, pairs of those in 32, then
// added.
uint32_t Int8Avx2(int64_t rounds) {
  __m256i acc[12];
  __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
  for (__m256i& x : acc) x = _mm256_setzero_si256();
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m256i& x : acc) {
      asm volatile("" : "+x"(a));  // the product is computed anew each time
      x = _mm256_add_epi32(x, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
    }
  }
  __m256i sum = acc[0];
  for (const __m256i& x : acc) sum = _mm256_xor_si256(sum, x);
  return static_cast<uint32_t>(_mm256_movemask_epi8(sum));
}

}  // namespace baton::bench
