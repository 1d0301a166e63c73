// Integer dot products on AVX2. Nibbles (0..15) times int8 summed over eight k-quads stay below
// 2^15 (15 * 127 * 2 * 8 = 30,480), so they accumulate in 16 bits; int8 weights go through |w| *
// sign(a, w), at most 2 * 128 * 127, widened at once. See dots_scalar.inl for the meaning of each
// function.

static inline __m256i Broadcast4(const uint8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  return _mm256_set1_epi32(four);
}
static inline __m256i Line(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

template <Form F>
static inline I StartOf(const uint8_t* offset) {
  const __m256i start = F == Form::kW4 ? Broadcast4(offset) : _mm256_setzero_si256();
  return {start, start};
}

static inline void PrefetchLine(const uint8_t* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
}

template <Form F>
static inline void UnpackGroup(const uint8_t* tile, uint8_t* panel) {
  if (F == Form::kW8) {
    __builtin_memcpy(panel, tile, 512);
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

// Half a line of nibbles, rows 0..7 (half 0) or 8..15, of quad j.
template <bool Unpacked>
static inline __m256i Nibbles(const uint8_t* weights, int j, int half) {
  if (Unpacked) return Line(weights + j * 64 + half * 32);
  const __m256i line = Line(weights + (j & 3) * 64 + half * 32);
  return _mm256_and_si256(j < 4 ? line : _mm256_srli_epi16(line, 4), _mm256_set1_epi8(0x0f));
}

template <bool Unpacked, int T>
static inline __attribute__((always_inline)) void NibbleDots(const uint8_t* weights,
                                                             const uint8_t* group, I (&dots)[T]) {
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m256i sums[T];
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      const __m256i w = Nibbles<Unpacked>(weights, j, half);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const __m256i product = _mm256_maddubs_epi16(w, Broadcast4(group + (j * T + t) * 4));
        sums[t] = j == 0 ? product : _mm256_add_epi16(sums[t], product);
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      __m256i& dot = half == 0 ? dots[t].a : dots[t].b;
      dot = _mm256_add_epi32(dot, _mm256_madd_epi16(sums[t], ones));
    }
  }
}

template <int T>
static inline __attribute__((always_inline)) void SignedDots(const uint8_t* weights,
                                                             const uint8_t* group, I (&dots)[T]) {
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      const __m256i w = Line(weights + j * 64 + half * 32);
      const __m256i magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const __m256i a = _mm256_sign_epi8(Broadcast4(group + (j * T + t) * 4), w);
        __m256i& dot = half == 0 ? dots[t].a : dots[t].b;
        dot = _mm256_add_epi32(dot, _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, a), ones));
      }
    }
  }
}

template <Form F, bool Unpacked, int S, int T>
static inline __attribute__((always_inline)) void Dots(const uint8_t* const (&weights)[S],
                                                       const uint8_t* group, I (&dots)[S][T]) {
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) {
    if (F == Form::kW8) {
      SignedDots<T>(weights[s], group, dots[s]);
    } else {
      NibbleDots<Unpacked, T>(weights[s], group, dots[s]);
    }
  }
}
