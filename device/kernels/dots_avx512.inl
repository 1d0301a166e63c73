// Integer dot products on AVX-512 VNNI. A panel line is 64 bytes, 16 rows x 4 k, unsigned: nibbles
// as they are, int8 with 128 added; vpdpbusd multiplies it with four activations broadcast to every
// row.

static constexpr int kTileRows = 6;
static constexpr int kTileStrips = 2;

// What the unsigned form of the weights adds per unit of the activations' sum, to be taken off
// again.
template <Form F>
static constexpr int32_t PanelOffset() {
  return F == Form::kW4Min ? 0 : F == Form::kW4 ? -8 : -128;
}

static inline __m512i Broadcast4(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
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
    const __m512i bias = _mm512_set1_epi8(static_cast<char>(0x80));
    for (int j = 0; j < 8; ++j) {
      _mm512_storeu_si512(panel + j * 64,
                          _mm512_xor_si512(_mm512_loadu_si512(tile + j * 64), bias));
    }
    return;
  }
  const __m512i mask = _mm512_set1_epi8(0x0f);
  for (int j = 0; j < 4; ++j) {
    const __m512i line = _mm512_loadu_si512(tile + j * 64);
    _mm512_storeu_si512(panel + j * 64, _mm512_and_si512(line, mask));
    _mm512_storeu_si512(panel + (j + 4) * 64, _mm512_and_si512(_mm512_srli_epi16(line, 4), mask));
  }
}

template <Form F, int S, int T>
static inline __attribute__((always_inline)) void DotsPanel(const uint8_t* const (&panel)[S],
                                                            const int8_t* const (&q)[T], int64_t k,
                                                            I (&dots)[S][T]) {
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) {
    __m512i w[S];
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) w[s] = _mm512_loadu_si512(panel[s] + j * 64);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512i a = Broadcast4(q[t] + k + j * 4);
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) dots[s][t].v = _mm512_dpbusd_epi32(dots[s][t].v, w[s], a);
    }
  }
}

template <Form F, int T>
static inline __attribute__((always_inline)) void DotsPacked(const uint8_t* tile,
                                                             const int8_t* const (&q)[T], int64_t k,
                                                             I (&dots)[T]) {
  if (F == Form::kW8) {
    const __m512i bias = _mm512_set1_epi8(static_cast<char>(0x80));
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      const __m512i w = _mm512_xor_si512(_mm512_loadu_si512(tile + j * 64), bias);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        dots[t].v = _mm512_dpbusd_epi32(dots[t].v, w, Broadcast4(q[t] + k + j * 4));
      }
    }
    return;
  }
  const __m512i mask = _mm512_set1_epi8(0x0f);
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i line = _mm512_loadu_si512(tile + j * 64);
    const __m512i low = _mm512_and_si512(line, mask);
    const __m512i high = _mm512_and_si512(_mm512_srli_epi16(line, 4), mask);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      dots[t].v = _mm512_dpbusd_epi32(dots[t].v, low, Broadcast4(q[t] + k + j * 4));
      dots[t].v = _mm512_dpbusd_epi32(dots[t].v, high, Broadcast4(q[t] + k + (j + 4) * 4));
    }
  }
}
