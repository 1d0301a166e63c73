// Integer dot products on AVX-512 VNNI: vpdpbusd multiplies 64 unsigned weights, 16 rows x 4 k,
// with four activations broadcast to every row. Nibbles are unsigned as they are; int8 weights get
// 128 added. See dots_scalar.inl for the meaning of each function.

static inline __m512i Broadcast4(const uint8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}
static inline __m512i Line(const uint8_t* p) { return _mm512_loadu_si512(p); }

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
    const __m512i bias = _mm512_set1_epi8(static_cast<char>(0x80));
    for (int j = 0; j < 8; ++j) {
      _mm512_storeu_si512(panel + j * 64, _mm512_xor_si512(Line(tile + j * 64), bias));
    }
    return;
  }
  const __m512i mask = _mm512_set1_epi8(0x0f);
  for (int j = 0; j < 4; ++j) {
    const __m512i line = Line(tile + j * 64);
    _mm512_storeu_si512(panel + j * 64, _mm512_and_si512(line, mask));
    _mm512_storeu_si512(panel + (j + 4) * 64, _mm512_and_si512(_mm512_srli_epi16(line, 4), mask));
  }
}

// Quad j of S strips times T rows.
template <int S, int T>
static inline __attribute__((always_inline)) void Quad(const __m512i (&w)[S], const uint8_t* group,
                                                       int j, I (&dots)[S][T]) {
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const __m512i a = Broadcast4(group + (kRowMajor ? t * 32 + j * 4 : (j * T + t) * 4));
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) dots[s][t] = {_mm512_dpbusd_epi32(dots[s][t].v, w[s], a)};
  }
}

template <Form F, bool Unpacked, int S, int T>
static inline __attribute__((always_inline)) void Dots(const uint8_t* const (&weights)[S],
                                                       const uint8_t* group, I (&dots)[S][T]) {
  if (Unpacked || F == Form::kW8) {
    const __m512i bias = _mm512_set1_epi8(static_cast<char>(0x80));
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      __m512i w[S];
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) {
        const __m512i line = Line(weights[s] + j * 64);
        w[s] = Unpacked ? line : _mm512_xor_si512(line, bias);
      }
      Quad<S, T>(w, group, j, dots);
    }
    return;
  }
  const __m512i mask = _mm512_set1_epi8(0x0f);
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    __m512i low[S], high[S];
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      const __m512i line = Line(weights[s] + j * 64);
      low[s] = _mm512_and_si512(line, mask);
      high[s] = _mm512_and_si512(_mm512_srli_epi16(line, 4), mask);
    }
    Quad<S, T>(low, group, j, dots);
    Quad<S, T>(high, group, j + 4, dots);
  }
}
