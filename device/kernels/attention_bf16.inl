// The sums of attention over caches of bfloat16. Included inside a namespace, before attention.inl.
//
// Queries and weights are rounded to bfloat16, so every product is exact in float. A sum runs in
// blocks of 32 dimensions (scores) or 32 keys (values): within a block one fma chain over the even
// and one over the odd members, each from zero, then sum = sum + (even + odd). That is how a matrix
// unit with bfloat16 tiles adds (TDPBF16PS); here it is written out. Magnitudes below 2^-50 are
// zero (RoundBf16), so no product and no sum is subnormal, which that unit would flush.

static inline int32_t Padded32(int32_t dim) { return (dim + 31) / 32 * 32; }

// Scores of R rows against the 64 keys of a tile: [R][64].
template <int R>
static inline void ScoresBf16(const float* const (&query)[R], float scale, int32_t dim,
                              const float* keys, float* scores) {
  constexpr int N = kBf16Vectors;
  for (int32_t first = 0; first < kTileKeys; first += N * 16) {
    V s[R][N];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) s[r][n] = Zero();
    }
    for (int32_t block = 0; block < dim; block += 32) {
      const int32_t end = block + 32 < dim ? block + 32 : dim;
      V even[R][N], odd[R][N];
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) even[r][n] = odd[r][n] = Zero();
      }
      for (int32_t d = block; d < end; d += 2) {
        const float* at = keys + d * kTileKeys + first;
        // A missing last dimension is zero in the query; any key will do.
        const float* next = d + 1 < end ? at + kTileKeys : at;
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          const V q0 = Set1(query[r][d]), q1 = Set1(query[r][d + 1]);
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) {
            even[r][n] = Fma(q0, Load(at + n * 16), even[r][n]);
            odd[r][n] = Fma(q1, Load(next + n * 16), odd[r][n]);
          }
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) s[r][n] = Add(s[r][n], Add(even[r][n], odd[r][n]));
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        Store(scores + r * kTileKeys + first + n * 16, Mul(s[r][n], Set1(scale)));
      }
    }
  }
}

// values += weights [R][64] * tile, for R rows and N vectors of the dimension.
template <int R, int N>
static inline void MixBf16(const float* weights, const float* tile, int32_t padded, float* values) {
  for (int32_t block = 0; block < kTileKeys; block += 32) {
    V even[R][N], odd[R][N];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) even[r][n] = odd[r][n] = Zero();
    }
    for (int32_t t = block; t < block + 32; t += 2) {
      const float* at = tile + t * padded;
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const V w0 = Set1(weights[r * kTileKeys + t]), w1 = Set1(weights[r * kTileKeys + t + 1]);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
          even[r][n] = Fma(w0, Load(at + n * 16), even[r][n]);
          odd[r][n] = Fma(w1, Load(at + padded + n * 16), odd[r][n]);
        }
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        float* y = values + r * padded + n * 16;
        Store(y, Add(Load(y), Add(even[r][n], odd[r][n])));
      }
    }
  }
}

template <int R>
static inline void MixTileBf16(const float* weights, const float* tile, int32_t padded,
                               float* values) {
  constexpr int N = kBf16Vectors;
  int32_t d = 0;
  for (; d + N * 16 <= padded; d += N * 16) {
    MixBf16<R, N>(weights, tile + d, padded, values + d);
  }
  for (; d < padded; d += 16) MixBf16<R, 1>(weights, tile + d, padded, values + d);
}

// Weights of keys that are not there are zero; so must their values be.
static inline void ClearAbsent(int64_t present, int32_t padded, float* values) {
  for (int64_t t = present; t < kTileKeys; ++t) {
    for (int32_t d = 0; d < padded; d += 16) Store(values + t * padded + d, Zero());
  }
}

// The queries in bfloat16's precision: [rows][dim rounded up to 32], zeros behind `dim`.
static inline void RoundQueries(const QueryRows& rows, int32_t dim, float* out) {
  const int32_t padded = Padded32(dim);
  for (int32_t r = 0; r < rows.count; ++r) {
    for (int32_t d = 0; d < padded; d += 16) {
      const int32_t left = dim - d;
      const V q = left >= 16  ? Load(rows.query[r] + d)
                  : left <= 0 ? Zero()
                              : LoadTail(rows.query[r] + d, left);
      Store(out + r * padded + d, RoundBf16(q));
    }
  }
}
