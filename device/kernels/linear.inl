// Linear layers over packed weights: tiles of strips times rows. Included inside a namespace, after
// the lanes, float_ops.inl and the dots of the ISA level.
//
// An output is y = fma(float(dot), d * scale, y) per group in ascending order, followed by
// y = fma(m, scale * sum, y) where the form has a minimum.

// How far ahead of their use packed weights are fetched: they come from memory, once a step.
static constexpr int64_t kPrefetchBytes = 4096;

// One strip as a tile reads it.
struct Strip {
  const uint8_t* packed;  // its tiles
  const uint8_t* panel;   // [groups][512], or null
  int64_t bytes;          // of a packed strip
  int64_t number;         // among the strips of its weight
};

template <Form F>
static constexpr int64_t TileBytes() {
  return F == Form::kW4Min ? 320 : F == Form::kW4 ? 288 : 544;
}
template <Form F>
static constexpr int64_t ScaleOffset() {
  return F == Form::kW8 ? 512 : 256;
}

template <Form F>
static inline void PrefetchTile(const uint8_t* tile) {
  for (int64_t b = 0; b < TileBytes<F>(); b += 64) PrefetchLine(tile + b);
}

static inline V BroadcastFloat(const uint8_t* p) {
  float value;
  __builtin_memcpy(&value, p, 4);
  return Set1(value);
}

// S strips times T rows of a tile of `tile_rows` rows of activations; `rows` is the tile at its
// first row. In quads the T rows are all rows of the tile.
template <Form F, bool Unpacked, int S, int T>
static inline __attribute__((always_inline)) void QuantisedTile(const Strip* strips,
                                                                const uint8_t* rows, int row,
                                                                int tile_rows, int64_t groups,
                                                                V (&y)[S][T]) {
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) y[s][t] = Zero();
  }
  for (int64_t g = 0; g < groups; ++g, rows += tile_rows * kGroupRowBytes) {
    I dots[S][T];
    const uint8_t* weights[S];
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      const uint8_t* tile = strips[s].packed + g * TileBytes<F>();
      weights[s] = Unpacked ? strips[s].panel + g * 512 : tile;
      if (!Unpacked) PrefetchTile<F>(tile + kPrefetchBytes);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        dots[s][t] = StartOf<F>(rows + 40 * tile_rows + (row + t) * 4);
      }
    }
    Dots<F, Unpacked, S, T>(weights, rows + row * 32, dots);
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      const uint16_t* half = reinterpret_cast<const uint16_t*>(
          strips[s].packed + g * TileBytes<F>() + ScaleOffset<F>());
      const V d = LoadHalf(half);
      const V m = F == Form::kW4Min ? LoadHalf(half + 16) : Zero();
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const uint8_t* scale = rows + 32 * tile_rows + (row + t) * 4;
        y[s][t] = Fma(ToFloat(dots[s][t]), Mul(d, BroadcastFloat(scale)), y[s][t]);
        if (F == Form::kW4Min) y[s][t] = Fma(m, BroadcastFloat(scale + 4 * tile_rows), y[s][t]);
      }
    }
  }
}

// Element k of a strip in a float form: 16 rows.
template <Form F>
static inline V LoadFloatWeight(const uint8_t* strip, int64_t k) {
  if (F == Form::kF32) return Load(reinterpret_cast<const float*>(strip) + k * 16);
  const uint16_t* half = reinterpret_cast<const uint16_t*>(strip) + k * 16;
  return F == Form::kF16 ? LoadHalf(half) : LoadBf16(half);
}

template <Form F, int S, int T>
static inline __attribute__((always_inline)) void FloatTile(const Strip* strips,
                                                            const Activations& in, int64_t row,
                                                            V (&y)[S][T]) {
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) y[s][t] = Zero();
  }
  const float* x = in.x + row * in.x_stride;
  for (int64_t k = 0; k < in.cols; ++k) {
    V w[S];
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) w[s] = LoadFloatWeight<F>(strips[s].packed, k);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const V b = Set1(x[t * in.x_stride + k]);
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) y[s][t] = Fma(w[s], b, y[s][t]);
    }
  }
}

// Writes one strip of one row: bias, then accumulation.
static inline void Emit(V y, int64_t strip, int64_t row, const Output& out) {
  const int64_t column = strip * kStripRows;
  const int64_t count = out.cols - column < 16 ? out.cols - column : 16;
  float* p = out.data + row * out.stride + column;
  if (count == 16) {
    if (out.bias != nullptr) y = Add(y, Load(out.bias + column));
    Store(p, out.accumulate ? Add(Load(p), y) : y);
    return;
  }
  if (out.bias != nullptr) y = Add(y, LoadTail(out.bias + column, count));
  StoreTail(p, out.accumulate ? Add(LoadTail(p, count), y) : y, count);
}

enum class Path : uint8_t { kPanel, kPacked, kFloat };

// S strips times T rows; `Gated`: strips 2i and 2i + 1 are gate and up of one output strip.
template <Form F, Path P, bool Gated, int S, int T>
static void RunTile(const Strip* strips, const Activations& in, int64_t row, const Output& out) {
  V y[S][T];
  if constexpr (P == Path::kFloat) {
    FloatTile<F, S, T>(strips, in, row, y);
  } else {
    const int64_t groups = in.cols / kGroupCols;
    const int64_t tile = row / kTileRows * kTileRows;
    const int first = kTileRows == kRegisterRows ? 0 : static_cast<int>(row - tile);
    const int tile_rows = kTileRows == kRegisterRows   ? T
                          : in.rows - tile < kTileRows ? static_cast<int>(in.rows - tile)
                                                       : kTileRows;
    QuantisedTile<F, P == Path::kPanel, S, T>(strips, in.tiles + tile * groups * kGroupRowBytes,
                                              first, tile_rows, groups, y);
  }
  for (int t = 0; t < T; ++t) {
    if constexpr (Gated) {
      for (int s = 0; s < S; s += 2) {
        Emit(GateTimes(out.gate, y[s][t], y[s + 1][t]), strips[s].number, row + t, out);
      }
    } else {
      for (int s = 0; s < S; ++s) Emit(y[s][t], strips[s].number, row + t, out);
    }
  }
}

// The last tile: `rows` of them, at most T.
template <Form F, Path P, bool Gated, int S, int T>
static inline void RunRest(const Strip* strips, const Activations& in, int64_t row, int64_t rows,
                           const Output& out) {
  if (rows == T) {
    RunTile<F, P, Gated, S, T>(strips, in, row, out);
  } else if constexpr (T > 1) {
    RunRest<F, P, Gated, S, T - 1>(strips, in, row, rows, out);
  }
}

// All rows, in tiles of kRegisterRows and a rest.
template <Form F, Path P, bool Gated, int S>
static void RunRows(const Strip* strips, const Activations& in, const Output& out) {
  int64_t row = 0;
  for (; row + kRegisterRows <= in.rows; row += kRegisterRows) {
    RunTile<F, P, Gated, S, kRegisterRows>(strips, in, row, out);
  }
  if (row < in.rows) {
    RunRest<F, P, Gated, S, kRegisterRows - 1>(strips, in, row, in.rows - row, out);
  }
}

// Levels with kMatrixTiles (matrix_amx.inl): these strips of all rows from panels, and what
// follows the last of them.
template <Form F, bool Gated, int S>
static void RunMatrixStrips(Strip* strips, const Activations& in, const Output& out,
                            uint8_t* scratch);
static inline void ReleaseTiles();

// From panels: both strips are unpacked into `scratch` first.
template <Form F, bool Gated, int S>
static void RunPanels(Strip* strips, const Activations& in, const Output& out, uint8_t* scratch) {
  if constexpr (kMatrixTiles) {
    RunMatrixStrips<F, Gated, S>(strips, in, out, scratch);
  } else {
    const int64_t groups = in.cols / kGroupCols;
    // The strips that come next arrive while these are multiplied.
    const int64_t ahead = (Gated ? 1 : S) * strips[0].bytes;
    for (int s = 0; s < S; ++s) {
      uint8_t* panel = scratch + s * groups * 512;
      for (int64_t g = 0; g < groups; ++g) {
        const uint8_t* tile = strips[s].packed + g * TileBytes<F>();
        PrefetchTile<F>(tile + ahead);
        UnpackGroup<F>(tile, panel + g * 512);
      }
      strips[s].panel = panel;
    }
    RunRows<F, Path::kPanel, Gated, S>(strips, in, out);
  }
}

template <Form F>
static constexpr bool IsPlain() {
  return F == Form::kF32 || F == Form::kF16 || F == Form::kBF16;
}

static inline Strip StripOf(const PackedView& weight, int64_t strip) {
  return {weight.data + strip * weight.strip_bytes, nullptr, weight.strip_bytes, strip};
}

// The strips [begin, end) of packed weights, `Streams` places at a time: where few rows make memory
// the limit, several streams of lines are read faster than one. `Gated`: gate and up at each place.
// `RowsMax`: the most rows, or kRegisterRows for any number. Returns the first strip that is left.
template <Form F, bool Gated, int Streams, int RowsMax>
static int64_t RunStreams(const PackedView& weight, const PackedView& up, int64_t begin,
                          int64_t end, const Activations& in, const Output& out) {
  constexpr int kEach = Gated ? 2 : 1;
  const int64_t length = (end - begin) / Streams;
  for (int64_t i = begin; i < begin + length; ++i) {
    Strip strips[Streams * kEach];
    for (int s = 0; s < Streams; ++s) {
      strips[s * kEach] = StripOf(weight, i + s * length);
      if (Gated) strips[s * kEach + 1] = StripOf(up, i + s * length);
    }
    if constexpr (RowsMax < kRegisterRows) {
      RunRest<F, Path::kPacked, Gated, Streams * kEach, RowsMax>(strips, in, 0, in.rows, out);
    } else {
      RunRows<F, Path::kPacked, Gated, Streams * kEach>(strips, in, out);
    }
  }
  return begin + length * Streams;
}

// The strips [begin, end) of packed weights.
template <Form F, bool Gated>
static void RunPacked(const PackedView& weight, const PackedView& up, int64_t begin, int64_t end,
                      const Activations& in, const Output& out) {
  constexpr int kEach = Gated ? 2 : 1;
  if constexpr (kFewRowStrips > kManyRowStrips) {
    if (in.rows <= kFewRows) {
      begin =
          RunStreams<F, Gated, kFewRowStrips / kEach, kFewRows>(weight, up, begin, end, in, out);
    }
  }
  if constexpr (kManyRowStrips > kEach) {
    begin = RunStreams<F, Gated, kManyRowStrips / kEach, kRegisterRows>(weight, up, begin, end, in,
                                                                        out);
  }
  RunStreams<F, Gated, 1, kRegisterRows>(weight, up, begin, end, in, out);
}

template <Form F>
static void LinearOf(const PackedView& weight, int64_t begin, int64_t end, const Activations& in,
                     const Output& out, bool panels, uint8_t* scratch) {
  if constexpr (!IsPlain<F>()) {
    if (!panels) {
      RunPacked<F, false>(weight, weight, begin, end, in, out);
      return;
    }
  }
  // Two strips share each activation that is loaded.
  int64_t strip = begin;
  if constexpr (kTileStrips == 2) {
    const bool pairs = !IsPlain<F>() || in.rows >= kRegisterRows;
    for (; pairs && strip + 2 <= end; strip += 2) {
      Strip pair[2] = {StripOf(weight, strip), StripOf(weight, strip + 1)};
      if constexpr (IsPlain<F>()) {
        RunRows<F, Path::kFloat, false, 2>(pair, in, out);
      } else {
        RunPanels<F, false, 2>(pair, in, out, scratch);
      }
    }
  }
  for (; strip < end; ++strip) {
    Strip one = StripOf(weight, strip);
    if constexpr (IsPlain<F>()) {
      RunRows<F, Path::kFloat, false, 1>(&one, in, out);
    } else {
      RunPanels<F, false, 1>(&one, in, out, scratch);
    }
  }
}

template <Form F>
static void GatedOf(const PackedView& gate, const PackedView& up, int64_t begin, int64_t end,
                    const Activations& in, const Output& out, bool panels, uint8_t* scratch) {
  if constexpr (!IsPlain<F>()) {
    if (!panels) {
      RunPacked<F, true>(gate, up, begin, end, in, out);
      return;
    }
  }
  for (int64_t strip = begin; strip < end; ++strip) {
    Strip pair[2] = {StripOf(gate, strip), StripOf(up, strip)};
    if constexpr (IsPlain<F>()) {
      RunRows<F, Path::kFloat, true, 2>(pair, in, out);
    } else {
      RunPanels<F, true, 2>(pair, in, out, scratch);
    }
  }
}

#define BATON_FOR_EACH_FORM(call) \
  switch (form) {                 \
    case Form::kW4Min:            \
      call(Form::kW4Min);         \
      break;                      \
    case Form::kW4:               \
      call(Form::kW4);            \
      break;                      \
    case Form::kW8:               \
      call(Form::kW8);            \
      break;                      \
    case Form::kF32:              \
      call(Form::kF32);           \
      break;                      \
    case Form::kF16:              \
      call(Form::kF16);           \
      break;                      \
    case Form::kBF16:             \
      call(Form::kBF16);          \
      break;                      \
  }

static void Linear(const PackedView& weight, int64_t begin, int64_t end, const Activations& in,
                   const Output& out, bool panels, uint8_t* scratch) {
  const Form form = weight.form;
#define BATON_CALL(F) LinearOf<F>(weight, begin, end, in, out, panels, scratch)
  BATON_FOR_EACH_FORM(BATON_CALL)
#undef BATON_CALL
  if constexpr (kMatrixTiles) {
    if (panels) ReleaseTiles();
  }
}

static void Gated(const PackedView& gate, const PackedView& up, int64_t begin, int64_t end,
                  const Activations& in, const Output& out, bool panels, uint8_t* scratch) {
  const Form form = gate.form;
#define BATON_CALL(F) GatedOf<F>(gate, up, begin, end, in, out, panels, scratch)
  BATON_FOR_EACH_FORM(BATON_CALL)
#undef BATON_CALL
  if constexpr (kMatrixTiles) {
    if (panels) ReleaseTiles();
  }
}
