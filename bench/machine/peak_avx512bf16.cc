#include <immintrin.h>

#include "bench/machine/peak_loops.h"

namespace baton::bench {

uint32_t Bf16Avx512(int64_t rounds) {
  __m512 acc[24];
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1.5f), _mm512_set1_ps(1.25f));
  const __m512bh b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.75f));
  for (__m512& x : acc) x = _mm512_setzero_ps();
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 24
    for (__m512& x : acc) x = _mm512_dpbf16_ps(x, a, b);
  }
  __m512 sum = acc[0];
  for (const __m512& x : acc) sum = _mm512_add_ps(sum, x);
  return static_cast<uint32_t>(_mm512_reduce_add_ps(sum));
}

}  // namespace baton::bench
