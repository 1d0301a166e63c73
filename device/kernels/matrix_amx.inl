// Linear layers on AMX: tiles of one strip times 16 rows. Included inside a namespace, after
// linear.inl.
//
// TDPBSUD and TDPBSSD add the exact integer dot products of a group of 32 (8 quads) of 16 outputs
// with 16 rows; what follows per group is that of the other levels. The result leaves the matrix
// unit through memory, and while that unit is in use the CPU multiplies floats on one port only
// (measured on Sapphire Rapids), so scaling bounds the speed, not the dot products.

// One group of a packed strip as a tile of bytes, [8 quads][16 rows][4]: unsigned nibbles, or
// signed weights.
template <Form F>
static inline void UnpackMatrix(const uint8_t* tile, uint8_t* panel) {
  if (F == Form::kW8) {
    for (int j = 0; j < 8; ++j) _mm512_store_si512(panel + j * 64, Line(tile + j * 64));
    return;
  }
  const __m512i mask = _mm512_set1_epi8(0x0f);
  const __m512i zero = _mm512_set1_epi8(F == Form::kW4 ? 8 : 0);
  for (int j = 0; j < 4; ++j) {
    const __m512i line = Line(tile + j * 64);
    const __m512i low = _mm512_and_si512(line, mask);
    const __m512i high = _mm512_and_si512(_mm512_srli_epi16(line, 4), mask);
    _mm512_store_si512(panel + j * 64, F == Form::kW4 ? _mm512_sub_epi8(low, zero) : low);
    _mm512_store_si512(panel + (j + 4) * 64, F == Form::kW4 ? _mm512_sub_epi8(high, zero) : high);
  }
}

// Shapes of the tile registers: 0 and 1 hold sums, 4 and 5 rows of activations, 6 and 7 weights.
struct TileShapes {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

// GCC's intrinsics do not say that they read memory: `asm` says it for them.
static inline void ReadsMemory() { asm volatile("" ::: "memory"); }

static void ShapeTiles(int rows) {
  alignas(64) TileShapes shapes = {.palette = 1};
  for (int i = 0; i < 6; ++i) {
    shapes.rows[i] = static_cast<uint8_t>(rows);
    shapes.row_bytes[i] = i < 4 ? 64 : 32;
  }
  shapes.rows[6] = shapes.rows[7] = 8;
  shapes.row_bytes[6] = shapes.row_bytes[7] = 64;
  asm volatile("" ::"r"(&shapes) : "memory");
  _tile_loadconfig(&shapes);
}

// Registers in use would be saved whenever the system switches threads.
static inline void ReleaseTiles() { _tile_release(); }

// Starts the dot products of one group in sum register SUM and brings them to `sums` [rows][16].
#define BATON_START_GROUP(SUM, ROWS, WEIGHTS, rows, panel, sums) \
  ReadsMemory();                                                 \
  _tile_loadd(ROWS, rows, 32);                                   \
  _tile_loadd(WEIGHTS, panel, 64);                               \
  _tile_zero(SUM);                                               \
  if (F == Form::kW4Min) {                                       \
    _tile_dpbsud(SUM, ROWS, WEIGHTS);                            \
  } else {                                                       \
    _tile_dpbssd(SUM, ROWS, WEIGHTS);                            \
  }                                                              \
  _tile_stored(SUM, sums, 64)

// y += the scaled sums of one group.
template <Form F>
static inline __attribute__((always_inline)) void AddGroup(const int32_t* sums,
                                                           const uint8_t* packed,
                                                           const uint8_t* group, int rows,
                                                           V (&y)[kTileRows]) {
  const uint16_t* half = reinterpret_cast<const uint16_t*>(packed + ScaleOffset<F>());
  const V d = LoadHalf(half);
  const V m = F == Form::kW4Min ? LoadHalf(half + 16) : Zero();
  const uint8_t* scales = group + 32 * rows;
#pragma GCC unroll 16
  for (int t = 0; t < rows; ++t) {
    const I dots = {_mm512_load_si512(sums + t * 16)};
    y[t] = Fma(ToFloat(dots), Mul(d, BroadcastFloat(scales + t * 4)), y[t]);
    if (F == Form::kW4Min) y[t] = Fma(m, BroadcastFloat(scales + (rows + t) * 4), y[t]);
  }
}

// One strip times a tile of `rows` rows. The dot products of a group are computed while those of
// the group before are scaled.
template <Form F>
static inline __attribute__((always_inline)) void MatrixTile(const Strip& strip,
                                                             const uint8_t* tile, int rows,
                                                             int64_t groups, V (&y)[kTileRows]) {
  alignas(64) int32_t even[kTileRows * 16], odd[kTileRows * 16];
  const int64_t group_bytes = int64_t{rows} * kGroupRowBytes;
#pragma GCC unroll 16
  for (int t = 0; t < rows; ++t) y[t] = Zero();
  BATON_START_GROUP(0, 4, 6, tile, strip.panel, even);
  for (int64_t g = 0; g < groups; g += 2) {
    const uint8_t* group = tile + g * group_bytes;
    const uint8_t* panel = strip.panel + g * 512;
    const uint8_t* packed = strip.packed + g * TileBytes<F>();
    if (g + 1 < groups) {
      BATON_START_GROUP(1, 5, 7, group + group_bytes, panel + 512, odd);
    }
    AddGroup<F>(even, packed, group, rows, y);
    if (g + 1 == groups) break;
    if (g + 2 < groups) {
      BATON_START_GROUP(0, 4, 6, group + 2 * group_bytes, panel + 1024, even);
    }
    AddGroup<F>(odd, packed + TileBytes<F>(), group + group_bytes, rows, y);
  }
}
#undef BATON_START_GROUP

// `rows` rows from `row` on: with a constant, sums stay in registers.
template <Form F, bool Gated, int S>
static inline __attribute__((always_inline)) void RunMatrixTile(const Strip* strips,
                                                                const Activations& in, int64_t row,
                                                                int rows, const Output& out) {
  const int64_t groups = in.cols / kGroupCols;
  const uint8_t* tile = in.tiles + row * groups * kGroupRowBytes;
  V y[kTileRows];
  if constexpr (!Gated) {
    for (int s = 0; s < S; ++s) {
      MatrixTile<F>(strips[s], tile, rows, groups, y);
#pragma GCC unroll 16
      for (int t = 0; t < rows; ++t) Emit(y[t], strips[s].number, row + t, out);
    }
  } else {
    MatrixTile<F>(strips[0], tile, rows, groups, y);
    alignas(64) float gate[kTileRows * 16];
#pragma GCC unroll 16
    for (int t = 0; t < rows; ++t) Store(gate + t * 16, y[t]);
    MatrixTile<F>(strips[1], tile, rows, groups, y);
#pragma GCC unroll 16
    for (int t = 0; t < rows; ++t) {
      Emit(GateTimes(out.gate, Load(gate + t * 16), y[t]), strips[0].number, row + t, out);
    }
  }
}

template <Form F, bool Gated, int S>
static void RunMatrixStrips(Strip* strips, const Activations& in, const Output& out,
                            uint8_t* scratch) {
  const int64_t groups = in.cols / kGroupCols;
  for (int s = 0; s < S; ++s) {
    uint8_t* panel = scratch + s * groups * 512;
    for (int64_t g = 0; g < groups; ++g) {
      const uint8_t* tile = strips[s].packed + g * TileBytes<F>();
      PrefetchTile<F>(tile + (Gated ? 1 : S) * strips[0].bytes);
      UnpackMatrix<F>(tile, panel + g * 512);
    }
    strips[s].panel = panel;
  }
  int64_t row = 0;
  if (in.rows >= kTileRows) {
    ShapeTiles(kTileRows);
    for (; row + kTileRows <= in.rows; row += kTileRows) {
      RunMatrixTile<F, Gated, S>(strips, in, row, kTileRows, out);
    }
  }
  if (row < in.rows) {
    const int rest = static_cast<int>(in.rows - row);
    ShapeTiles(rest);
    RunMatrixTile<F, Gated, S>(strips, in, row, rest, out);
  }
}
