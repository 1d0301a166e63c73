// Attention over caches of bfloat16 on AMX. Included inside a namespace, after attention.inl.
//
// Sixteen rows against a tile of 64 keys: TDPBF16PS adds exactly the sums of attention_bf16.inl.
// Scores and values pass through memory between the two products; what lies between them, the
// softmax, is that of the other levels.

// Scratch of one span, in bytes from the start (kernel_table.h gives the size).
struct MatrixScratch {
  uint8_t* keys;     // [dim / 32][4 groups of 16 keys][16 pairs of dims][16 keys][2]
  uint8_t* values;   // [2 groups of 32 keys][padded dim / 16][16 pairs of keys][16 dims][2]
  uint8_t* queries;  // [rows / 16][dim / 32][16 rows][32]
  uint8_t* weights;  // [2 groups of 32 keys][16 rows][32]
  float* scores;     // [16 rows][64]
};

static constexpr int32_t kMatrixRows = 16, kBf16TileBytes = 1024;

static bool FitsMatrix(const KvHead& head, const QueryRows& rows) {
  return head.number == KvNumber::kBF16 && !head.latent && head.head_dim % 32 == 0 &&
         rows.count >= 6;
}

// Sums and rows of bfloat16: `rows` of them; keys or values: 16 pairs.
static void ShapeBf16Tiles(int rows) {
  alignas(64) TileShapes shapes = {.palette = 1};
  for (int i = 0; i < 8; ++i) {
    shapes.rows[i] = static_cast<uint8_t>(i < 6 ? rows : 16);
    shapes.row_bytes[i] = 64;
  }
  asm volatile("" ::"r"(&shapes) : "memory");
  _tile_loadconfig(&shapes);
}

// Element i of a, element i of b, side by side.
static inline __m512i Pairs(const uint8_t* a, const uint8_t* b) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)a));
  const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)b));
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

// Brings the keys [first, first + 64) of a head into scratch; `present` of them exist, the others
// are zero.
static void LoadMatrixTile(const KvHead& head, int64_t first, int64_t present,
                           const MatrixScratch& scratch) {
  const int32_t dim = head.head_dim;
  alignas(64) static const uint16_t zeros[32] = {};
  const uint8_t* zero = reinterpret_cast<const uint8_t*>(zeros);
  for (int32_t lane = 0; lane < kTileKeys; lane += 16) {
    const int64_t there = present - lane < 0 ? 0 : present - lane > 16 ? 16 : present - lane;
    const int64_t token = first + lane;
    const uint8_t* block =
        there == 0
            ? zero
            : head.layer_base + head.block_table[token / head.block_tokens] * head.block_bytes;
    const int64_t slot = token % head.block_tokens;
    const int64_t step = head.block_tokens * 2;
    const uint8_t* k = block + head.key_offset + slot * 2;
    uint8_t* out = scratch.keys + lane / 16 * kBf16TileBytes;
    for (int32_t d = 0; d < dim; d += 2) {
      const __m512i pair =
          there == 0 ? _mm512_setzero_si512() : Pairs(k + d * step, k + (d + 1) * step);
      _mm512_store_si512(out + d / 32 * 4 * kBf16TileBytes + d % 32 / 2 * 64, pair);
    }
    const uint8_t* v = block + head.value_offset + slot * dim * 2;
    out = scratch.values + lane / 32 * (dim / 16) * kBf16TileBytes + lane % 32 / 2 * 64;
    for (int32_t t = 0; t < 16; t += 2) {
      for (int32_t d = 0; d < dim; d += 16) {
        const uint8_t* even = t < there ? v + (t * dim + d) * 2 : zero;
        const uint8_t* odd = t + 1 < there ? v + ((t + 1) * dim + d) * 2 : zero;
        _mm512_store_si512(out + d / 16 * kBf16TileBytes + t / 2 * 64, Pairs(even, odd));
      }
    }
  }
}

// Rows [row, row + 16) of the queries, zero where there are fewer.
static void LoadMatrixQueries(const QueryRows& rows, int32_t row, int32_t dim, uint8_t* out) {
  for (int32_t r = 0; r < kMatrixRows; ++r) {
    for (int32_t d = 0; d < dim; d += 16) {
      const V q = row + r < rows.count ? RoundBf16(Load(rows.query[row + r] + d)) : Zero();
      StoreBf16(reinterpret_cast<uint16_t*>(out + d / 32 * kBf16TileBytes + r * 64 + d % 32 * 2),
                q);
    }
  }
}

static inline void ScoreTile(const uint8_t* queries, int32_t dim, const MatrixScratch& scratch) {
  ReadsMemory();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  const uint8_t* keys = scratch.keys;
  for (int32_t d = 0; d < dim; d += 32) {
    _tile_loadd(4, queries, 64);
    _tile_loadd(6, keys, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, keys + kBf16TileBytes, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(6, keys + 2 * kBf16TileBytes, 64);
    _tile_dpbf16ps(2, 4, 6);
    _tile_loadd(7, keys + 3 * kBf16TileBytes, 64);
    _tile_dpbf16ps(3, 4, 7);
    queries += kBf16TileBytes;
    keys += 4 * kBf16TileBytes;
  }
  _tile_stored(0, scratch.scores, kTileKeys * 4);
  _tile_stored(1, scratch.scores + 16, kTileKeys * 4);
  _tile_stored(2, scratch.scores + 32, kTileKeys * 4);
  _tile_stored(3, scratch.scores + 48, kTileKeys * 4);
}

#define BATON_MIX_DIMS(SUM, WEIGHTS, d)                                  \
  _tile_loadd(SUM, values + (d), padded * 4);                            \
  _tile_loadd(WEIGHTS, tile + (d) / 16 * kBf16TileBytes, 64);            \
  _tile_dpbf16ps(SUM, 4, WEIGHTS);                                       \
  _tile_loadd(WEIGHTS, tile + (padded + (d)) / 16 * kBf16TileBytes, 64); \
  _tile_dpbf16ps(SUM, 5, WEIGHTS);                                       \
  _tile_stored(SUM, values + (d), padded * 4)

static inline void MixTile(const MatrixScratch& scratch, int64_t padded, float* values) {
  ReadsMemory();
  _tile_loadd(4, scratch.weights, 64);
  _tile_loadd(5, scratch.weights + kBf16TileBytes, 64);
  const uint8_t* tile = scratch.values;
  for (int64_t d = 0; d < padded; d += 32) {
    BATON_MIX_DIMS(0, 6, d);
    BATON_MIX_DIMS(1, 7, d + 16);
  }
}
#undef BATON_MIX_DIMS

// Weights of up to 16 rows from their scores.
static inline void WeighTile(const QueryRows& rows, int32_t row, int32_t count, int64_t first,
                             const SoftmaxState& state, int32_t padded, V* sums,
                             const MatrixScratch& scratch) {
  for (int32_t r = 0; r < count; ++r) {
    const int64_t begin = Before(FirstKey(rows, row + r), first);
    const int64_t end = Before(rows.limits[row + r], first);
    V s[4];
    for (int v = 0; v < 4; ++v) {
      s[v] = begin < end ? Mul(Load(scratch.scores + r * kTileKeys + v * 16), Set1(rows.scale))
                         : Zero();
    }
    if (begin < end) {
      Softmax<true>(s, begin, end, state.highest + row + r, sums + row + r,
                    state.values + (row + r) * padded, padded);
    }
    uint8_t* weights = scratch.weights + r * 64;
    for (int v = 0; v < 4; ++v) {
      StoreBf16(reinterpret_cast<uint16_t*>(weights + v / 2 * kBf16TileBytes + v % 2 * 32), s[v]);
    }
  }
}

static void AttendMatrixTiles(const KvHead& head, const QueryRows& rows, int64_t first, int64_t end,
                              const SoftmaxState& state, V* sums, uint8_t* memory) {
  const int32_t dim = head.head_dim;
  MatrixScratch scratch;
  scratch.keys = memory;
  scratch.values = memory + dim * kTileKeys * 2;
  scratch.queries = memory + 2 * dim * kTileKeys * 4 + rows.count * 64;
  scratch.scores =
      reinterpret_cast<float*>(scratch.queries + (rows.count + 15) / 16 * 16 * dim * 2);
  scratch.weights = reinterpret_cast<uint8_t*>(scratch.scores + kMatrixRows * kTileKeys);
  for (int32_t row = 0; row < rows.count; row += kMatrixRows) {
    LoadMatrixQueries(rows, row, dim, scratch.queries + row * dim * 2);
  }
  int shaped = 0;
  for (; first < end; first += kTileKeys) {
    LoadMatrixTile(head, first, end - first, scratch);
    for (int32_t row = 0; row < rows.count; row += kMatrixRows) {
      const int32_t count = rows.count - row < kMatrixRows ? rows.count - row : kMatrixRows;
      bool visible = false;
      for (int32_t r = row; r < row + count; ++r) {
        visible |= rows.limits[r] > first && FirstKey(rows, r) < first + kTileKeys;
      }
      if (!visible) continue;
      if (shaped != count) ShapeBf16Tiles(shaped = count);
      ScoreTile(scratch.queries + row * dim * 2, dim, scratch);
      WeighTile(rows, row, count, first, state, dim, sums, scratch);
      MixTile(scratch, dim, state.values + row * dim);
    }
  }
  if (shaped != 0) ReleaseTiles();
}
