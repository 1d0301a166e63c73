// Sixteen float lanes and sixteen integer lanes on AVX-512. Included inside a namespace; see
// lanes_scalar.inl for the meaning of each function: all ISA levels compute the same bits.

struct V {
  __m512 v;
};
struct I {
  __m512i v;
};

static inline V Zero() { return {_mm512_setzero_ps()}; }
static inline V Set1(float x) { return {_mm512_set1_ps(x)}; }
static inline V Load(const float* p) { return {_mm512_loadu_ps(p)}; }
static inline void Store(float* p, V a) { _mm512_storeu_ps(p, a.v); }
static inline V LoadHalf(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
static inline V LoadBf16(const uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16))};
}
static inline void StoreHalf(uint16_t* p, V a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline V Add(V a, V b) { return {_mm512_add_ps(a.v, b.v)}; }
static inline V Sub(V a, V b) { return {_mm512_sub_ps(a.v, b.v)}; }
static inline V Mul(V a, V b) { return {_mm512_mul_ps(a.v, b.v)}; }
static inline V Div(V a, V b) { return {_mm512_div_ps(a.v, b.v)}; }
static inline V Max(V a, V b) { return {_mm512_max_ps(a.v, b.v)}; }
static inline V Min(V a, V b) { return {_mm512_min_ps(a.v, b.v)}; }
static inline V Fma(V a, V b, V c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
static inline V Abs(V a) { return {_mm512_abs_ps(a.v)}; }
static inline V RoundEven(V a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
static inline V PowerOfTwo(V n) {
  return {_mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23))};
}
static inline V TimesPowerOfTwo(V x, V n) { return {_mm512_scalef_ps(x.v, n.v)}; }
static inline V RoundBf16(V x) {
  const __m512i bits = _mm512_castps_si512(x.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 kept =
      _mm512_cmp_ps_mask(_mm512_abs_ps(x.v), _mm512_set1_ps(0x1p-50f), _CMP_GE_OQ);
  return {_mm512_castsi512_ps(
      _mm512_maskz_and_epi32(kept, rounded, _mm512_set1_epi32(static_cast<int32_t>(0xffff0000))))};
}
static inline void StoreBf16(uint16_t* p, V x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(x.v), 16)));
}
static inline V ZeroWhereLess(V a, V limit, V result) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a.v, limit.v, _CMP_GE_OQ), result.v)};
}
static inline V KeepFirst(V a, int count, V other) {
  return {_mm512_mask_mov_ps(other.v, static_cast<__mmask16>((1u << count) - 1), a.v)};
}
static inline int32_t StoreGroup(int8_t* p, V low, V high) {
  const __m256i q = _mm256_inserti128_si256(
      _mm256_castsi128_si256(_mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(low.v))),
      _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(high.v)), 1);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), q);
  // sad sums eight unsigned bytes each.
  const __m256i four =
      _mm256_sad_epu8(_mm256_xor_si256(q, _mm256_set1_epi8(-128)), _mm256_setzero_si256());
  const __m128i two =
      _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_unpackhi_epi64(two, two))) - 32 * 128;
}
static inline float FoldAdd8(__m256 a) {
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}
static inline float SumTree(V a) {
  return FoldAdd8(_mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1)));
}
static inline float MaxLane(V a) { return _mm512_reduce_max_ps(a.v); }

static inline V ToFloat(I a) { return {_mm512_cvtepi32_ps(a.v)}; }
static inline I SetInt(int32_t x) { return {_mm512_set1_epi32(x)}; }
