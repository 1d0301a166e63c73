#include <immintrin.h>

#include "bench/machine/peak_loops.h"

namespace baton::bench {

uint32_t Int8AvxVnni(int64_t rounds) {
  __m256i acc[12];
  const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
  for (__m256i& x : acc) x = _mm256_setzero_si256();
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m256i& x : acc) x = _mm256_dpbusd_avx_epi32(x, a, b);
  }
  __m256i sum = acc[0];
  for (const __m256i& x : acc) sum = _mm256_xor_si256(sum, x);
  return static_cast<uint32_t>(_mm256_movemask_epi8(sum));
}

}  // namespace baton::bench
