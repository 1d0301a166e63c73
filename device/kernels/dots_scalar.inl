// Integer dot products in plain C++: the definition.

static constexpr int kTileRows = 2;
static constexpr int kTileStrips = 1;

template <Form F>
static constexpr int32_t PanelOffset() {
  return F == Form::kW4 ? -8 : 0;
}

template <Form F>
static inline void Prefetch(const uint8_t*) {}

// Weight of `row` and k within a packed tile: unsigned nibble or signed byte.
template <Form F>
static inline int32_t TileWeight(const uint8_t* tile, int row, int k) {
  const int quad = k / 4;
  if (F == Form::kW8) return static_cast<int8_t>(tile[quad * 64 + row * 4 + k % 4]);
  const uint8_t byte = tile[(quad & 3) * 64 + row * 4 + k % 4];
  return quad < 4 ? byte & 0x0f : byte >> 4;
}

template <Form F>
static inline void BuildPanelGroup(const uint8_t* tile, uint8_t* panel) {
  for (int k = 0; k < 32; ++k) {
    for (int row = 0; row < 16; ++row) {
      panel[k / 4 * 64 + row * 4 + k % 4] = static_cast<uint8_t>(TileWeight<F>(tile, row, k));
    }
  }
}

template <Form F, int S, int T>
static inline void DotsPanel(const uint8_t* const (&panel)[S], const int8_t* const (&q)[T],
                             int64_t k0, I (&dots)[S][T]) {
  for (int s = 0; s < S; ++s) {
    for (int t = 0; t < T; ++t) {
      for (int row = 0; row < 16; ++row) {
        for (int k = 0; k < 32; ++k) {
          const uint8_t byte = panel[s][k / 4 * 64 + row * 4 + k % 4];
          const int32_t w = F == Form::kW8 ? static_cast<int8_t>(byte) : byte;
          dots[s][t].lane[row] += w * q[t][k0 + k];
        }
      }
    }
  }
}

template <Form F, int T>
static inline void DotsPacked(const uint8_t* tile, const int8_t* const (&q)[T], int64_t k0,
                              I (&dots)[T]) {
  for (int t = 0; t < T; ++t) {
    for (int row = 0; row < 16; ++row) {
      for (int k = 0; k < 32; ++k) {
        dots[t].lane[row] += TileWeight<F>(tile, row, k) * q[t][k0 + k];
      }
    }
  }
}
