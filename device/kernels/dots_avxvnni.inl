// Integer dot products on AVX-VNNI: vpdpbusd on 256 bits, eight rows x 4 k, for CPUs that have it
// without AVX-512. Nibbles are unsigned as they are; int8 weights get 128 added. See
// dots_scalar.inl for the meaning of each function.

static inline __m256i Broadcast4(const uint8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  return _mm256_set1_epi32(four);
}
static inline __m256i Line(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// What the unsigned form of the weights adds to a dot product, negated.
template <Form F>
static inline I StartOf(const uint8_t* offset) {
  int32_t start;
  __builtin_memcpy(&start, offset, 4);
  return SetInt(F == Form::kW4Min ? 0 : F == Form::kW4 ? start : start * 16);
}

static inline void PrefetchLine(const uint8_t* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
}

template <Form F>
static inline void UnpackGroup(const uint8_t* tile, uint8_t* panel) {
  if (F == Form::kW8) {
    const __m256i bias = _mm256_set1_epi8(static_cast<char>(0x80));
    for (int j = 0; j < 16; ++j) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(panel + j * 32),
                          _mm256_xor_si256(Line(tile + j * 32), bias));
    }
    return;
  }
  const __m256i mask = _mm256_set1_epi8(0x0f);
  for (int j = 0; j < 8; ++j) {
    const __m256i line = Line(tile + j * 32);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(panel + j * 32), _mm256_and_si256(line, mask));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(panel + 256 + j * 32),
                        _mm256_and_si256(_mm256_srli_epi16(line, 4), mask));
  }
}

// Half a line of unsigned weights, rows 0..7 (half 0) or 8..15, of quad j.
template <Form F, bool Unpacked>
static inline __m256i Weights(const uint8_t* weights, int j, int half) {
  if (Unpacked) return Line(weights + j * 64 + half * 32);
  if (F == Form::kW8) {
    return _mm256_xor_si256(Line(weights + j * 64 + half * 32),
                            _mm256_set1_epi8(static_cast<char>(0x80)));
  }
  const __m256i line = Line(weights + (j & 3) * 64 + half * 32);
  return _mm256_and_si256(j < 4 ? line : _mm256_srli_epi16(line, 4), _mm256_set1_epi8(0x0f));
}

template <Form F, bool Unpacked, int S, int T>
static inline __attribute__((always_inline)) void Dots(const uint8_t* const (&weights)[S],
                                                       const uint8_t* group, I (&dots)[S][T]) {
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      const __m256i low = Weights<F, Unpacked>(weights[s], j, 0);
      const __m256i high = Weights<F, Unpacked>(weights[s], j, 1);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const __m256i a = Broadcast4(group + (j * T + t) * 4);
        dots[s][t].a = _mm256_dpbusd_avx_epi32(dots[s][t].a, low, a);
        dots[s][t].b = _mm256_dpbusd_avx_epi32(dots[s][t].b, high, a);
      }
    }
  }
}
