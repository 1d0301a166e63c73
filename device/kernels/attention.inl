// Attention of some rows over one span of 256 keys. Included inside a namespace, after the lanes
// and attention_tiles.inl.
//
// Keys are walked in tiles of 64 at absolute positions. For many rows a tile is first brought into
// scratch as floats; few rows read it where it lies in the cache. Per row: scores are fma
// chains over the dimension, one key a lane; an online softmax (Milakov & Gimelshein 2018) per
// tile; values are fma chains over the keys, one dimension a lane. Caches of bfloat16 take the sums
// of attention_bf16.inl, which a matrix unit computes as well.

// Scores of R rows against the 64 keys of a tile: [R][64].
template <int R, typename Tile>
static inline void Scores(const float* const (&query)[R], float scale, int32_t dim,
                          const Tile& tile, float* scores) {
  constexpr int N = kAttentionVectors;
  for (int32_t first = 0; first < kTileKeys; first += N * 16) {
    V s[R][N];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) s[r][n] = Zero();
    }
    for (int32_t d = 0; d < dim; ++d) {
      V k[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) k[n] = tile.Key(d, first / 16 + n);
      if (first == 0) tile.FetchNext(d);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const V q = Set1(query[r][d]);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) s[r][n] = Fma(q, k[n], s[r][n]);
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

// Turns one row's scores of the keys [begin, visible) into weights against the row's new maximum,
// rescaling its state. `Bf16`: weights are rounded to bfloat16.
template <bool Bf16>
static inline void Softmax(V (&s)[4], int64_t begin, int64_t visible, float* highest, V* sum,
                           float* values, int32_t padded) {
  V top = Set1(-__builtin_inff());
  for (int v = 0; v < 4; ++v) {
    const int64_t count = visible - v * 16 < 0 ? 0 : visible - v * 16 > 16 ? 16 : visible - v * 16;
    s[v] = KeepFirst(s[v], static_cast<int>(count), Set1(-__builtin_inff()));
    if (begin > v * 16) {
      const int64_t hidden = begin - v * 16 > 16 ? 16 : begin - v * 16;
      s[v] = KeepFirst(Set1(-__builtin_inff()), static_cast<int>(hidden), s[v]);
    }
    top = Max(top, s[v]);
  }
  const float tile_highest = MaxLane(top);
  const float now = *highest > tile_highest ? *highest : tile_highest;
  if (now != *highest) {
    const V factor = Exp(Set1(*highest - now));  // from -infinity: zero
    *sum = Mul(*sum, factor);
    for (int32_t d = 0; d < padded; d += 16) Store(values + d, Mul(Load(values + d), factor));
    *highest = now;
  }
  for (int v = 0; v < 4; ++v) {
    const V below = Sub(s[v], Set1(now));
    s[v] = Bf16 ? RoundBf16(ExpForBf16(below)) : Exp(below);
    *sum = Add(*sum, s[v]);
  }
}

// The same for scores in memory.
template <bool Bf16>
static inline void SoftmaxRow(float* scores, int64_t begin, int64_t visible, float* highest, V* sum,
                              float* values, int32_t padded) {
  V s[4];
  for (int v = 0; v < 4; ++v) s[v] = Load(scores + v * 16);
  Softmax<Bf16>(s, begin, visible, highest, sum, values, padded);
  for (int v = 0; v < 4; ++v) Store(scores + v * 16, s[v]);
}

// values += weights * tile, for R rows and N vectors of the dimension; all rows see the keys
// [begin, end).
template <int R, int N, typename Tile>
static inline void Mix(const float* weights, const Tile& tile, int32_t first, int32_t padded,
                       int64_t begin, int64_t end, float* values) {
  V y[R][N];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) y[r][n] = Load(values + r * padded + n * 16);
  }
  for (int64_t t = begin; t < end; ++t) {
    V v[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) v[n] = tile.Value(t, first + n * 16);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const V w = Set1(weights[r * kTileKeys + t]);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) y[r][n] = Fma(w, v[n], y[r][n]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) Store(values + r * padded + n * 16, y[r][n]);
  }
}

template <int R, typename Tile>
static inline void MixRange(const float* weights, const Tile& tile, int32_t padded, int64_t begin,
                            int64_t end, float* values) {
  int32_t d = 0;
  constexpr int N = kAttentionVectors;
  for (; d + N * 16 <= padded; d += N * 16) {
    Mix<R, N>(weights, tile, d, padded, begin, end, values + d);
  }
  for (; d < padded; d += 16) Mix<R, 1>(weights, tile, d, padded, begin, end, values + d);
}

// How many of a tile's keys, which begin at `first`, lie before `end`.
static inline int64_t Before(int64_t end, int64_t first) {
  constexpr int64_t kTile = kTileKeys;
  return end - first < 0 ? 0 : end - first > kTile ? kTile : end - first;
}

// The first key that a row sees.
static inline int64_t FirstKey(const QueryRows& rows, int32_t row) {
  return rows.window == 0 || rows.limits[row] < rows.window ? 0 : rows.limits[row] - rows.window;
}

// R rows against one tile; `sums` [rows] of their weights.
template <int R, typename Tile>
static void TileRows(const QueryRows& rows, int32_t row, const KvHead& head, int64_t first,
                     const Tile& tile, V* sums, const SoftmaxState& state) {
  const int32_t padded = Padded(head.value_dim);
  float weights[R * kTileKeys];
  const float* query[R];
  for (int r = 0; r < R; ++r) query[r] = rows.query[row + r];
  float* values = state.values + row * padded;
  Scores<R>(query, rows.scale, head.head_dim, tile, weights);
  int64_t begins[R], ends[R];
  int64_t common_begin = 0, common_end = kTileKeys;  // of the keys that all rows see
  for (int r = 0; r < R; ++r) {
    begins[r] = Before(FirstKey(rows, row + r), first);
    ends[r] = Before(rows.limits[row + r], first);
    common_begin = begins[r] > common_begin ? begins[r] : common_begin;
    common_end = ends[r] < common_end ? ends[r] : common_end;
    if (begins[r] < ends[r]) {
      SoftmaxRow<false>(weights + r * kTileKeys, begins[r], ends[r], state.highest + row + r,
                        sums + row + r, values + r * padded, padded);
    }
  }
  if (common_begin > common_end) common_begin = common_end;
  for (int r = 0; r < R; ++r) {
    const int64_t end = ends[r] < common_begin ? ends[r] : common_begin;
    if (begins[r] < end) {
      MixRange<1>(weights + r * kTileKeys, tile, padded, begins[r], end, values + r * padded);
    }
  }
  MixRange<R>(weights, tile, padded, common_begin, common_end, values);
  for (int r = 0; r < R; ++r) {
    const int64_t begin = begins[r] > common_end ? begins[r] : common_end;
    if (begin < ends[r]) {
      MixRange<1>(weights + r * kTileKeys, tile, padded, begin, ends[r], values + r * padded);
    }
  }
}

// The same over caches of bfloat16.
template <int R>
static void TileRows(const QueryRows& rows, int32_t row, const KvHead& head, int64_t first,
                     const Bf16Tile& tile, V* sums, const SoftmaxState& state) {
  const int32_t padded = Padded(head.value_dim);
  float weights[R * kTileKeys];
  const float* query[R];
  for (int r = 0; r < R; ++r) query[r] = tile.queries + (row + r) * Padded32(head.head_dim);
  float* values = state.values + row * padded;
  ScoresBf16<R>(query, rows.scale, head.head_dim, tile.keys, weights);
  for (int r = 0; r < R; ++r) {
    const int64_t begin = Before(FirstKey(rows, row + r), first);
    const int64_t end = Before(rows.limits[row + r], first);
    if (begin < end) {
      SoftmaxRow<true>(weights + r * kTileKeys, begin, end, state.highest + row + r, sums + row + r,
                       values + r * padded, padded);
    } else {
      for (int v = 0; v < 4; ++v) Store(weights + r * kTileKeys + v * 16, Zero());
    }
  }
  MixTileBf16<R>(weights, tile.values, padded, values);
}

// The rows that are left, fewer than R, against one tile.
template <int R, typename Tile>
static inline void RestRows(const QueryRows& rows, int32_t row, const KvHead& head, int64_t first,
                            const Tile& tile, V* sums, const SoftmaxState& state) {
  if constexpr (R > 1) {
    if (rows.count - row == R - 1) {
      TileRows<R - 1>(rows, row, head, first, tile, sums, state);
    } else {
      RestRows<R - 1>(rows, row, head, first, tile, sums, state);
    }
  }
}

// All rows against one tile.
template <typename Tile>
static void AllRows(const QueryRows& rows, const KvHead& head, int64_t first, const Tile& tile,
                    V* sums, const SoftmaxState& state) {
  int32_t r = 0;
  for (; r + kAttentionRows <= rows.count; r += kAttentionRows) {
    TileRows<kAttentionRows>(rows, r, head, first, tile, sums, state);
  }
  RestRows<kAttentionRows>(rows, r, head, first, tile, sums, state);
}

// Levels with kMatrixTiles (attention_amx.inl): whether a head's tiles fit the matrix unit, and the
// tiles of a span there.
static bool FitsMatrix(const KvHead& head, const QueryRows& rows);
static void AttendMatrixTiles(const KvHead& head, const QueryRows& rows, int64_t first, int64_t end,
                              const SoftmaxState& state, V* sums, uint8_t* scratch);

// The tiles [first, end) of a head, each brought into scratch.
static void AttendScratchTiles(const KvHead& head, const QueryRows& rows, int64_t first,
                               int64_t end, const SoftmaxState& state, V* sums, uint8_t* scratch) {
  const int32_t padded = Padded(head.value_dim);
  float* keys = reinterpret_cast<float*>(scratch);
  float* values = keys + int64_t{head.head_dim} * kTileKeys;
  float* queries = values + int64_t{padded} * kTileKeys + rows.count * 16;  // behind the sums
  const bool bf16 = head.number == KvNumber::kBF16;
  if (bf16) RoundQueries(rows, head.head_dim, queries);
  for (; first < end; first += kTileKeys) {
    LoadTile(head, first, end - first, keys, values);
    if (bf16) {
      ClearAbsent(end - first, padded, values);
      AllRows(rows, head, first, Bf16Tile{keys, values, queries}, sums, state);
    } else {
      AllRows(rows, head, first, ScratchTile{keys, values, padded}, sums, state);
    }
  }
}

// Up to kAttentionRows rows against the tiles [first, end), which are read in place, once.
template <KvNumber Number>
static void AttendCacheTiles(const KvHead& head, const QueryRows& rows, int64_t first, int64_t end,
                             const KvAhead& ahead, const SoftmaxState& state, V* sums) {
  for (; first < end; first += kTileKeys) {
    CacheTile<Number> tile(head, first, end);
    const int64_t next = first + kTileKeys;
    if (next < end) {
      tile.SetNext(head, next, end);
    } else if (ahead.head != nullptr) {
      tile.SetNext(*ahead.head, ahead.first, ahead.end);
    }
    RestRows<kAttentionRows + 1>(rows, 0, head, first, tile, sums, state);
  }
}

static void AttendSpan(const KvHead& head, const QueryRows& rows, int64_t span,
                       const KvAhead& ahead, const SoftmaxState& state, uint8_t* scratch) {
  const int32_t padded = Padded(head.value_dim);
  V* sums = reinterpret_cast<V*>(scratch + int64_t{head.head_dim + padded} * kTileKeys * 4);
  int64_t limit = 0, begin = rows.count > 0 ? FirstKey(rows, 0) : 0;
  for (int32_t r = 0; r < rows.count; ++r) {
    begin = FirstKey(rows, r) < begin ? FirstKey(rows, r) : begin;
    state.highest[r] = -__builtin_inff();
    sums[r] = Zero();
    for (int32_t d = 0; d < padded; d += 16) Store(state.values + r * padded + d, Zero());
    limit = rows.limits[r] > limit ? rows.limits[r] : limit;
  }
  const int64_t end = (span + 1) * kSpanKeys < limit ? (span + 1) * kSpanKeys : limit;
  int64_t first = span * kSpanKeys;
  while (first + kTileKeys <= begin && first < end) first += kTileKeys;
  bool matrix = false;
  if constexpr (kMatrixTiles) matrix = FitsMatrix(head, rows);
  const bool in_place = rows.count <= kAttentionRows && !head.latent && head.head_dim % 16 == 0;
  if (matrix) {
    if constexpr (kMatrixTiles) AttendMatrixTiles(head, rows, first, end, state, sums, scratch);
  } else if (in_place && head.number == KvNumber::kF16) {
    AttendCacheTiles<KvNumber::kF16>(head, rows, first, end, ahead, state, sums);
  } else {
    AttendScratchTiles(head, rows, first, end, state, sums, scratch);
  }
  for (int32_t r = 0; r < rows.count; ++r) state.sum[r] = SumTree(sums[r]);
}

static void Merge(float* into_highest, float* into_sum, float* into_values, float highest,
                  float sum, const float* values, int32_t padded) {
  if (sum == 0.0f) return;
  const float now = *into_highest > highest ? *into_highest : highest;
  const float old_factor = *into_sum == 0.0f ? 0.0f : Exp1(*into_highest - now);
  const float factor = Exp1(highest - now);
  *into_sum = __builtin_fmaf(sum, factor, *into_sum * old_factor);
  for (int32_t d = 0; d < padded; d += 16) {
    Store(into_values + d,
          Fma(Load(values + d), Set1(factor), Mul(Load(into_values + d), Set1(old_factor))));
  }
  *into_highest = now;
}

static void Finish(const float* values, float sum, int32_t dim, float* out) {
  const V divisor = Set1(sum);
  int32_t d = 0;
  for (; d + 16 <= dim; d += 16) Store(out + d, Div(Load(values + d), divisor));
  if (d < dim) StoreTail(out + d, Div(Load(values + d), divisor), dim - d);
}
