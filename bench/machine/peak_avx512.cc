#include <immintrin.h>

#include "bench/machine/peak_loops.h"

namespace baton::bench {

uint32_t Fp32Avx512(int64_t rounds) {
  __m512 acc[24];
  const __m512 a = _mm512_set1_ps(1.0001f), b = _mm512_set1_ps(0.9999f);
  for (__m512& x : acc) x = _mm512_setzero_ps();
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 24
    for (__m512& x : acc) x = _mm512_fmadd_ps(a, b, x);
  }
  __m512 sum = acc[0];
  for (const __m512& x : acc) sum = _mm512_add_ps(sum, x);
  return static_cast<uint32_t>(_mm512_reduce_add_ps(sum));
}

uint32_t Int8Avx512Vnni(int64_t rounds) {
  __m512i acc[24];
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (__m512i& x : acc) x = _mm512_setzero_si512();
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 24
    for (__m512i& x : acc) x = _mm512_dpbusd_epi32(x, a, b);
  }
  __m512i sum = acc[0];
  for (const __m512i& x : acc) sum = _mm512_xor_si512(sum, x);
  return static_cast<uint32_t>(_mm512_reduce_add_epi32(sum));
}

}  // namespace baton::bench
