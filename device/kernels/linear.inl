// Linear layers over packed weights: tiles of strips times rows. Included inside a namespace, after
// the lanes, float_ops.inl and dots_<isa>.inl, which gives
//   DotsPanel<S, T>   integer dot products of one group of S unpacked strips with T rows
//   DotsPacked<F, T>  the same for one packed strip
//   BuildPanelGroup<F>, PanelOffset<F>(), kTileRows, kTileStrips
// An output is y = fma(float(dot), d * scale, y) per group in ascending order, then y = fma(m,
// scale * float(sum), y) where the form has a minimum.

// One strip as a tile reads it.
struct Strip {
  const uint8_t* packed;  // its tiles
  const uint8_t* panel;   // [groups][512], or null
  const float* d;         // [groups][16] beside the panel
  const float* m;
};

template <Form F>
static constexpr int64_t TileBytes() {
  return F == Form::kW4Min ? 320 : F == Form::kW4 ? 288 : 544;
}
template <Form F>
static constexpr int64_t ScaleOffset() {
  return F == Form::kW8 ? 512 : 256;
}

// Adds one group to the outputs of T rows.
template <Form F, int T>
static inline __attribute__((always_inline)) void Flush(const I (&dots)[T], V d, V m,
                                                        const float* const (&scale)[T],
                                                        const int32_t* const (&sum)[T], int64_t g,
                                                        V (&y)[T]) {
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    y[t] = Fma(ToFloat(dots[t]), Mul(d, Set1(scale[t][g])), y[t]);
    if (F == Form::kW4Min) {
      y[t] = Fma(m, Set1(scale[t][g] * static_cast<float>(sum[t][g])), y[t]);
    }
  }
}

template <Form F, int S, int T>
static inline __attribute__((always_inline)) void PanelTile(const Strip* strips,
                                                            const Activations& in, int64_t row,
                                                            V (&y)[S][T]) {
  const int64_t groups = in.cols / kGroupCols;
  const int8_t* q[T];
  const float* scale[T];
  const int32_t* sum[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    q[t] = in.q + (row + t) * in.cols;
    scale[t] = in.scale + (row + t) * groups;
    sum[t] = in.sum + (row + t) * groups;
  }
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) y[s][t] = Zero();
  }
  for (int64_t g = 0; g < groups; ++g) {
    I dots[S][T];
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) dots[s][t] = SetInt(PanelOffset<F>() * sum[t][g]);
    }
    const uint8_t* panel[S];
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) panel[s] = strips[s].panel + g * 512;
    DotsPanel<F, S, T>(panel, q, g * kGroupCols, dots);
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      const V m = F == Form::kW4Min ? Load(strips[s].m + g * 16) : Zero();
      Flush<F, T>(dots[s], Load(strips[s].d + g * 16), m, scale, sum, g, y[s]);
    }
  }
}

template <Form F, int S, int T>
static inline __attribute__((always_inline)) void PackedTile(const Strip* strips,
                                                             const Activations& in, int64_t row,
                                                             V (&y)[S][T]) {
  const int64_t groups = in.cols / kGroupCols;
  const int8_t* q[T];
  const float* scale[T];
  const int32_t* sum[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    q[t] = in.q + (row + t) * in.cols;
    scale[t] = in.scale + (row + t) * groups;
    sum[t] = in.sum + (row + t) * groups;
  }
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) y[s][t] = Zero();
  }
  for (int64_t g = 0; g < groups; ++g) {
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      const uint8_t* tile = strips[s].packed + g * TileBytes<F>();
      Prefetch<F>(tile);
      I dots[T];
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) dots[t] = SetInt(PanelOffset<F>() * sum[t][g]);
      DotsPacked<F, T>(tile, q, g * kGroupCols, dots);
      const uint16_t* half = reinterpret_cast<const uint16_t*>(tile + ScaleOffset<F>());
      const V m = F == Form::kW4Min ? LoadHalf(half + 16) : Zero();
      Flush<F, T>(dots, LoadHalf(half), m, scale, sum, g, y[s]);
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

// S strips times T rows; `Gated`: strips 0 and 1 are gate and up of one output strip.
template <Form F, Path P, bool Gated, int S, int T>
static inline void RunTile(const Strip* strips, int64_t strip, const Activations& in, int64_t row,
                           const Output& out) {
  V y[S][T];
  if constexpr (P == Path::kPanel) {
    PanelTile<F, S, T>(strips, in, row, y);
  } else if constexpr (P == Path::kPacked) {
    PackedTile<F, S, T>(strips, in, row, y);
  } else {
    FloatTile<F, S, T>(strips, in, row, y);
  }
  for (int t = 0; t < T; ++t) {
    if constexpr (Gated) {
      Emit(SiluTimes(y[0][t], y[1][t]), strip, row + t, out);
    } else {
      for (int s = 0; s < S; ++s) Emit(y[s][t], strip + s, row + t, out);
    }
  }
}

// All rows, in tiles of kTileRows and a rest.
template <Form F, Path P, bool Gated, int S>
static void RunRows(const Strip* strips, int64_t strip, const Activations& in, const Output& out) {
  int64_t row = 0;
  for (; row + kTileRows <= in.rows; row += kTileRows) {
    RunTile<F, P, Gated, S, kTileRows>(strips, strip, in, row, out);
  }
  for (; row + 2 <= in.rows; row += 2) RunTile<F, P, Gated, S, 2>(strips, strip, in, row, out);
  if (row < in.rows) RunTile<F, P, Gated, S, 1>(strips, strip, in, row, out);
}

// Unpacks one strip: panel, then d and m as floats. Returns the first free byte of scratch.
template <Form F>
static uint8_t* BuildPanel(Strip* strip, int64_t groups, uint8_t* scratch) {
  float* d = reinterpret_cast<float*>(scratch + groups * 512);
  float* m = d + groups * 16;
  for (int64_t g = 0; g < groups; ++g) {
    const uint8_t* tile = strip->packed + g * TileBytes<F>();
    BuildPanelGroup<F>(tile, scratch + g * 512);
    const uint16_t* half = reinterpret_cast<const uint16_t*>(tile + ScaleOffset<F>());
    Store(d + g * 16, LoadHalf(half));
    if (F == Form::kW4Min) Store(m + g * 16, LoadHalf(half + 16));
  }
  strip->panel = scratch;
  strip->d = d;
  strip->m = m;
  return scratch + groups * (512 + 128);
}

template <Form F, bool Gated, int S>
static void RunStrips(Strip* strips, int64_t strip, const Activations& in, const Output& out,
                      bool panels, uint8_t* scratch) {
  if constexpr (F == Form::kF32 || F == Form::kF16 || F == Form::kBF16) {
    RunRows<F, Path::kFloat, Gated, S>(strips, strip, in, out);
  } else {
    if (panels) {
      for (int s = 0; s < S; ++s)
        scratch = BuildPanel<F>(&strips[s], in.cols / kGroupCols, scratch);
      RunRows<F, Path::kPanel, Gated, S>(strips, strip, in, out);
    } else {
      RunRows<F, Path::kPacked, Gated, S>(strips, strip, in, out);
    }
  }
}

template <Form F>
static void LinearOf(const PackedView& weight, int64_t begin, int64_t end, const Activations& in,
                     const Output& out, bool panels, uint8_t* scratch) {
  int64_t strip = begin;
  for (; strip + 2 <= end && kTileStrips == 2; strip += 2) {
    Strip pair[2] = {{weight.data + strip * weight.strip_bytes, nullptr, nullptr, nullptr},
                     {weight.data + (strip + 1) * weight.strip_bytes, nullptr, nullptr, nullptr}};
    RunStrips<F, false, 2>(pair, strip, in, out, panels, scratch);
  }
  for (; strip < end; ++strip) {
    Strip one = {weight.data + strip * weight.strip_bytes, nullptr, nullptr, nullptr};
    RunStrips<F, false, 1>(&one, strip, in, out, panels, scratch);
  }
}

template <Form F>
static void GatedOf(const PackedView& gate, const PackedView& up, int64_t begin, int64_t end,
                    const Activations& in, const Output& out, bool panels, uint8_t* scratch) {
  for (int64_t strip = begin; strip < end; ++strip) {
    Strip pair[2] = {{gate.data + strip * gate.strip_bytes, nullptr, nullptr, nullptr},
                     {up.data + strip * up.strip_bytes, nullptr, nullptr, nullptr}};
    RunStrips<F, true, 2>(pair, strip, in, out, panels, scratch);
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
}

static void Gated(const PackedView& gate, const PackedView& up, int64_t begin, int64_t end,
                  const Activations& in, const Output& out, bool panels, uint8_t* scratch) {
  const Form form = gate.form;
#define BATON_CALL(F) GatedOf<F>(gate, up, begin, end, in, out, panels, scratch)
  BATON_FOR_EACH_FORM(BATON_CALL)
#undef BATON_CALL
}
