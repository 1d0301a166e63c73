// Integer dot products on AVX2. Nibbles (0..15) times int8 summed over eight k-quads stay below
// 2^15 (15 * 127 * 2 * 8 = 30,480), so they accumulate in 16 bits; int8 weights go through |w| *
// sign(a, w), at most 2 * 128 * 127, widened at once.

static constexpr int kTileRows = 2;
static constexpr int kTileStrips = 1;

template <Form F>
static constexpr int32_t PanelOffset() {
  return F == Form::kW4 ? -8 : 0;
}

static inline __m256i Broadcast4(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  return _mm256_set1_epi32(four);
}
static inline __m256i Line(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

template <Form F>
static inline void Prefetch(const uint8_t* tile) {
  constexpr int kAhead = 3072;
  for (int line = 0; line < (F == Form::kW8 ? 9 : 5); ++line) {
    _mm_prefetch(reinterpret_cast<const char*>(tile) + kAhead + line * 64, _MM_HINT_T0);
  }
}

template <Form F>
static inline void BuildPanelGroup(const uint8_t* tile, uint8_t* panel) {
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

// Eight k-quads of unsigned nibbles; `lines` yields quad j of rows 0..7 and 8..15.
template <int T, typename Lines>
static inline __attribute__((always_inline)) void NibbleDots(const Lines& lines,
                                                             const int8_t* const (&q)[T], int64_t k,
                                                             I (&dots)[T]) {
  __m256i low[T], high[T];
#pragma GCC unroll 4
  for (int t = 0; t < T; ++t) low[t] = high[t] = _mm256_setzero_si256();
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) {
    const __m256i w0 = lines.Get(j, 0), w1 = lines.Get(j, 1);
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      const __m256i a = Broadcast4(q[t] + k + j * 4);
      low[t] = _mm256_add_epi16(low[t], _mm256_maddubs_epi16(w0, a));
      high[t] = _mm256_add_epi16(high[t], _mm256_maddubs_epi16(w1, a));
    }
  }
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 4
  for (int t = 0; t < T; ++t) {
    dots[t].a = _mm256_add_epi32(dots[t].a, _mm256_madd_epi16(low[t], ones));
    dots[t].b = _mm256_add_epi32(dots[t].b, _mm256_madd_epi16(high[t], ones));
  }
}

struct UnpackedLines {
  const uint8_t* panel;
  __m256i Get(int j, int half) const { return Line(panel + j * 64 + half * 32); }
};
struct PackedLines {
  const uint8_t* tile;
  __m256i Get(int j, int half) const {
    const __m256i line = Line(tile + (j & 3) * 64 + half * 32);
    const __m256i mask = _mm256_set1_epi8(0x0f);
    return _mm256_and_si256(j < 4 ? line : _mm256_srli_epi16(line, 4), mask);
  }
};

template <int T>
static inline __attribute__((always_inline)) void SignedDots(const uint8_t* lines,
                                                             const int8_t* const (&q)[T], int64_t k,
                                                             I (&dots)[T]) {
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) {
    const __m256i w0 = Line(lines + j * 64), w1 = Line(lines + j * 64 + 32);
    const __m256i m0 = _mm256_abs_epi8(w0), m1 = _mm256_abs_epi8(w1);
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      const __m256i a = Broadcast4(q[t] + k + j * 4);
      const __m256i p0 = _mm256_maddubs_epi16(m0, _mm256_sign_epi8(a, w0));
      const __m256i p1 = _mm256_maddubs_epi16(m1, _mm256_sign_epi8(a, w1));
      dots[t].a = _mm256_add_epi32(dots[t].a, _mm256_madd_epi16(p0, ones));
      dots[t].b = _mm256_add_epi32(dots[t].b, _mm256_madd_epi16(p1, ones));
    }
  }
}

template <Form F, int S, int T>
static inline __attribute__((always_inline)) void DotsPanel(const uint8_t* const (&panel)[S],
                                                            const int8_t* const (&q)[T], int64_t k,
                                                            I (&dots)[S][T]) {
  for (int s = 0; s < S; ++s) {
    if (F == Form::kW8) {
      SignedDots<T>(panel[s], q, k, dots[s]);
    } else {
      NibbleDots<T>(UnpackedLines{panel[s]}, q, k, dots[s]);
    }
  }
}

template <Form F, int T>
static inline __attribute__((always_inline)) void DotsPacked(const uint8_t* tile,
                                                             const int8_t* const (&q)[T], int64_t k,
                                                             I (&dots)[T]) {
  if (F == Form::kW8) {
    SignedDots<T>(tile, q, k, dots);
  } else {
    NibbleDots<T>(PackedLines{tile}, q, k, dots);
  }
}
