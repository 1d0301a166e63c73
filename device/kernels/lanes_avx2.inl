// Sixteen float lanes and sixteen integer lanes on AVX2, FMA and F16C: two registers each. Included
// inside a namespace; see lanes_scalar.inl for the meaning of each function.

struct V {
  __m256 a, b;  // lanes 0..7, lanes 8..15
};
struct I {
  __m256i a, b;
};

static inline V Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
static inline V Set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static inline V Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
static inline void Store(float* p, V x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
static inline V LoadHalf(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
static inline __m256 Bf16Half(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
static inline V LoadBf16(const uint16_t* p) { return {Bf16Half(p), Bf16Half(p + 8)}; }
static inline void StoreHalf(uint16_t* p, V x) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.a, kNearest));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(x.b, kNearest));
}
static inline V Add(V x, V y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
static inline V Sub(V x, V y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
static inline V Mul(V x, V y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
static inline V Div(V x, V y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
static inline V Max(V x, V y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
static inline V Min(V x, V y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
static inline V Fma(V x, V y, V z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
static inline V Abs(V x) {
  const __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  return {_mm256_and_ps(x.a, mask), _mm256_and_ps(x.b, mask)};
}
static inline V RoundEven(V x) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.a, kNearest), _mm256_round_ps(x.b, kNearest)};
}
static inline __m256 Power8(__m256 n) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
static inline V PowerOfTwo(V n) { return {Power8(n.a), Power8(n.b)}; }
static inline V TimesPowerOfTwo(V x, V n) {
  return {_mm256_mul_ps(x.a, Power8(n.a)), _mm256_mul_ps(x.b, Power8(n.b))};
}
static inline __m256 RoundBf16Half(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256 magnitude = _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)));
  const __m256i kept =
      _mm256_and_si256(rounded, _mm256_set1_epi32(static_cast<int32_t>(0xffff0000)));
  return _mm256_and_ps(_mm256_cmp_ps(magnitude, _mm256_set1_ps(0x1p-50f), _CMP_GE_OQ),
                       _mm256_castsi256_ps(kept));
}
static inline V RoundBf16(V x) { return {RoundBf16Half(x.a), RoundBf16Half(x.b)}; }
static inline void StoreBf16(uint16_t* p, V x) {
  // packus works within 128-bit halves: the permutation puts the lanes back in order.
  const __m256i words = _mm256_packus_epi32(_mm256_srli_epi32(_mm256_castps_si256(x.a), 16),
                                            _mm256_srli_epi32(_mm256_castps_si256(x.b), 16));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(words, 0xd8));
}
static inline V ZeroWhereLess(V x, V limit, V result) {
  return {_mm256_and_ps(_mm256_cmp_ps(x.a, limit.a, _CMP_GE_OQ), result.a),
          _mm256_and_ps(_mm256_cmp_ps(x.b, limit.b, _CMP_GE_OQ), result.b)};
}
static inline V KeepFirst(V x, int count, V other) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i low = _mm256_cmpgt_epi32(_mm256_set1_epi32(count), index);
  const __m256i high = _mm256_cmpgt_epi32(_mm256_set1_epi32(count - 8), index);
  return {_mm256_blendv_ps(other.a, x.a, _mm256_castsi256_ps(low)),
          _mm256_blendv_ps(other.b, x.b, _mm256_castsi256_ps(high))};
}
static inline int32_t StoreGroup(int8_t* p, V low, V high) {
  // packs works within 128-bit halves: the permutation puts the lanes back in order.
  const __m256i a = _mm256_packs_epi32(_mm256_cvtps_epi32(low.a), _mm256_cvtps_epi32(low.b));
  const __m256i b = _mm256_packs_epi32(_mm256_cvtps_epi32(high.a), _mm256_cvtps_epi32(high.b));
  const __m256i q = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b),
                                                _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), q);
  // sad sums eight unsigned bytes each.
  const __m256i four =
      _mm256_sad_epu8(_mm256_xor_si256(q, _mm256_set1_epi8(-128)), _mm256_setzero_si256());
  const __m128i two =
      _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_unpackhi_epi64(two, two))) - 32 * 128;
}
static inline float SumTree(V x) {
  const __m256 s = _mm256_add_ps(x.a, x.b);
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}
static inline float MaxLane(V x) {
  const __m256 s = _mm256_max_ps(x.a, x.b);
  const __m128 b = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_shuffle_ps(c, c, 1)));
}

static inline V ToFloat(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
static inline I SetInt(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
