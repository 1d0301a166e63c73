// Attention of some rows over one span of 256 keys. Included inside a namespace, after the lanes
// and float_ops.inl.
//
// Keys are walked in tiles of 64 at absolute positions. A tile is first brought into scratch as
// floats: keys [dim][64], values [64][padded dim]; then every row uses it. Per row: scores are fma
// chains over the dimension, one key a lane; an online softmax (Milakov & Gimelshein 2018) per
// tile; values are fma chains over the keys, one dimension a lane. Caches of bfloat16 take the sums
// of attention_bf16.inl, which a matrix unit computes as well.

static inline int32_t Padded(int32_t dim) { return (dim + 15) / 16 * 16; }

// Sixteen stored numbers, or the first `count` of them and zeros.
static inline V LoadNumbers(KvNumber number, const uint8_t* at) {
  if (number == KvNumber::kF32) return Load(reinterpret_cast<const float*>(at));
  const uint16_t* half = reinterpret_cast<const uint16_t*>(at);
  return number == KvNumber::kF16 ? LoadHalf(half) : LoadBf16(half);
}
static inline V LoadFewNumbers(KvNumber number, const uint8_t* at, int64_t count) {
  if (number == KvNumber::kF32) return LoadTail(reinterpret_cast<const float*>(at), count);
  uint16_t few[16] = {};
  for (int64_t i = 0; i < count; ++i) few[i] = reinterpret_cast<const uint16_t*>(at)[i];
  return LoadNumbers(number, reinterpret_cast<const uint8_t*>(few));
}

// The values of a latent head: the ends of the keys in scratch, turned.
static void TurnKeys(const KvHead& head, int64_t present, const float* keys, float* values) {
  const int32_t padded = Padded(head.value_dim);
  const float* from = keys + int64_t{head.head_dim - head.value_dim} * kTileKeys;
  for (int64_t t = 0; t < kTileKeys && t < present; ++t) {
    float* out = values + t * padded;
    for (int32_t d = 0; d < head.value_dim; ++d) out[d] = from[d * kTileKeys + t];
    for (int32_t d = head.value_dim; d < padded; ++d) out[d] = 0;
  }
}

// Brings the keys [first, first + 64) of a head into scratch; `present` of them exist.
static void LoadTile(const KvHead& head, int64_t first, int64_t present, float* keys,
                     float* values) {
  const int32_t dim = head.head_dim, padded = Padded(head.value_dim);
  const int64_t element = head.number == KvNumber::kF32 ? 4 : 2;
  for (int32_t lane = 0; lane < kTileKeys && lane < present; lane += 16) {
    const int64_t token = first + lane;
    const uint8_t* block =
        head.layer_base + head.block_table[token / head.block_tokens] * head.block_bytes;
    const int64_t slot = token % head.block_tokens;
    const uint8_t* k = block + head.key_offset + slot * element;
    for (int32_t d = 0; d < dim; ++d) {
      const uint8_t* at = k + d * head.block_tokens * element;
      Store(keys + d * kTileKeys + lane, LoadNumbers(head.number, at));
    }
    if (head.latent) continue;
    const uint8_t* v = block + head.value_offset + slot * dim * element;
    const int32_t rows = present - lane < 16 ? static_cast<int32_t>(present - lane) : 16;
    for (int32_t t = 0; t < rows; ++t) {
      const uint8_t* at = v + t * dim * element;
      float* out = values + (lane + t) * padded;
      int32_t d = 0;
      for (; d + 16 <= dim; d += 16) {
        Store(out + d, LoadNumbers(head.number, at + d * element));
      }
      if (d < dim) Store(out + d, LoadFewNumbers(head.number, at + d * element, dim - d));
    }
  }
  if (head.latent) TurnKeys(head, present, keys, values);
}

// Scores of R rows against the 64 keys of a tile: [R][64].
template <int R>
static inline void Scores(const float* const (&query)[R], float scale, int32_t dim,
                          const float* keys, float* scores) {
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
      for (int n = 0; n < N; ++n) k[n] = Load(keys + d * kTileKeys + first + n * 16);
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
template <int R, int N>
static inline void Mix(const float* weights, const float* tile, int32_t padded, int64_t begin,
                       int64_t end, float* values) {
  V y[R][N];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) y[r][n] = Load(values + r * padded + n * 16);
  }
  for (int64_t t = begin; t < end; ++t) {
    V v[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) v[n] = Load(tile + t * padded + n * 16);
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

template <int R>
static inline void MixRange(const float* weights, const float* tile, int32_t padded, int64_t begin,
                            int64_t end, float* values) {
  int32_t d = 0;
  constexpr int N = kAttentionVectors;
  for (; d + N * 16 <= padded; d += N * 16) {
    Mix<R, N>(weights, tile + d, padded, begin, end, values + d);
  }
  for (; d < padded; d += 16) Mix<R, 1>(weights, tile + d, padded, begin, end, values + d);
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

// A tile in scratch, and what the rows of a span bring.
struct SpanTile {
  const float* keys;     // [head_dim][64]
  const float* values;   // [64][padded value_dim]
  const float* queries;  // rounded, [rows][head_dim rounded up to 32]; null: as they are
  V* sums;               // [rows]
};

// R rows against one loaded tile.
template <int R>
static void TileRows(const QueryRows& rows, int32_t row, const KvHead& head, int64_t first,
                     const SpanTile& tile, const SoftmaxState& state) {
  const int32_t padded = Padded(head.value_dim);
  float weights[R * kTileKeys];
  const float* query[R];
  for (int r = 0; r < R; ++r) {
    query[r] = tile.queries == nullptr ? rows.query[row + r]
                                       : tile.queries + (row + r) * Padded32(head.head_dim);
  }
  V* sums = tile.sums;
  const float* tile_values = tile.values;
  float* values = state.values + row * padded;
  if (tile.queries != nullptr) {
    ScoresBf16<R>(query, rows.scale, head.head_dim, tile.keys, weights);
    for (int r = 0; r < R; ++r) {
      const int64_t begin = Before(FirstKey(rows, row + r), first);
      const int64_t end = Before(rows.limits[row + r], first);
      if (begin < end) {
        SoftmaxRow<true>(weights + r * kTileKeys, begin, end, state.highest + row + r,
                         sums + row + r, values + r * padded, padded);
      } else {
        for (int v = 0; v < 4; ++v) Store(weights + r * kTileKeys + v * 16, Zero());
      }
    }
    MixTileBf16<R>(weights, tile_values, padded, values);
    return;
  }
  Scores<R>(query, rows.scale, head.head_dim, tile.keys, weights);
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
      MixRange<1>(weights + r * kTileKeys, tile_values, padded, begins[r], end,
                  values + r * padded);
    }
  }
  MixRange<R>(weights, tile_values, padded, common_begin, common_end, values);
  for (int r = 0; r < R; ++r) {
    const int64_t begin = begins[r] > common_end ? begins[r] : common_end;
    if (begin < ends[r]) {
      MixRange<1>(weights + r * kTileKeys, tile_values, padded, begin, ends[r],
                  values + r * padded);
    }
  }
}

// The rows that are left, fewer than R, against one loaded tile.
template <int R>
static inline void RestRows(const QueryRows& rows, int32_t row, const KvHead& head, int64_t first,
                            const SpanTile& tile, const SoftmaxState& state) {
  if constexpr (R > 1) {
    if (rows.count - row == R - 1) {
      TileRows<R - 1>(rows, row, head, first, tile, state);
    } else {
      RestRows<R - 1>(rows, row, head, first, tile, state);
    }
  }
}

// Levels with kMatrixTiles (attention_amx.inl): whether a head's tiles fit the matrix unit, and the
// tiles of a span there.
static bool FitsMatrix(const KvHead& head, const QueryRows& rows);
static void AttendMatrixTiles(const KvHead& head, const QueryRows& rows, int64_t first, int64_t end,
                              const SoftmaxState& state, V* sums, uint8_t* scratch);

static void AttendSpan(const KvHead& head, const QueryRows& rows, int64_t span,
                       const SoftmaxState& state, uint8_t* scratch) {
  const int32_t padded = Padded(head.value_dim);
  float* keys = reinterpret_cast<float*>(scratch);
  float* values = keys + int64_t{head.head_dim} * kTileKeys;
  uint8_t* rest = scratch + int64_t{head.head_dim + padded} * kTileKeys * 4;
  V* sums = reinterpret_cast<V*>(rest);
  SpanTile tile = {keys, values, nullptr, sums};
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
  if constexpr (kMatrixTiles) {
    matrix = FitsMatrix(head, rows);
    if (matrix) AttendMatrixTiles(head, rows, first, end, state, sums, scratch);
  }
  if (matrix) {
    first = end;
  } else if (head.number == KvNumber::kBF16) {
    float* queries = reinterpret_cast<float*>(rest + rows.count * 64);
    RoundQueries(rows, head.head_dim, queries);
    tile.queries = queries;
  }
  for (; first < end; first += kTileKeys) {
    LoadTile(head, first, end - first, keys, values);
    if (tile.queries != nullptr) ClearAbsent(end - first, padded, values);
    int32_t r = 0;
    for (; r + kAttentionRows <= rows.count; r += kAttentionRows) {
      TileRows<kAttentionRows>(rows, r, head, first, tile, state);
    }
    RestRows<kAttentionRows>(rows, r, head, first, tile, state);
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
