// Integer dot products in plain C++: the definition.

// What a dot product starts from, given -8 * the sum of the activations: nibbles that stand for
// q - 8 are multiplied as q.
template <Form F>
static inline I StartOf(const uint8_t* offset) {
  int32_t eighth;
  __builtin_memcpy(&eighth, offset, 4);
  return SetInt(F == Form::kW4 ? eighth : 0);
}

static inline void PrefetchLine(const uint8_t*) {}

// Weight of `row` and k within a packed tile: unsigned nibble or signed byte.
template <Form F>
static inline int32_t TileWeight(const uint8_t* tile, int row, int k) {
  const int quad = k / 4;
  if (F == Form::kW8) return static_cast<int8_t>(tile[quad * 64 + row * 4 + k % 4]);
  const uint8_t byte = tile[(quad & 3) * 64 + row * 4 + k % 4];
  return quad < 4 ? byte & 0x0f : byte >> 4;
}

// One group of a packed strip as a byte a weight: [8 quads][16 rows][4].
template <Form F>
static inline void UnpackGroup(const uint8_t* tile, uint8_t* panel) {
  for (int k = 0; k < 32; ++k) {
    for (int row = 0; row < 16; ++row) {
      panel[k / 4 * 64 + row * 4 + k % 4] = static_cast<uint8_t>(TileWeight<F>(tile, row, k));
    }
  }
}

// Adds the dot products of one group of S strips, unpacked or packed, with the T rows of `group`.
template <Form F, bool Unpacked, int S, int T>
static inline void Dots(const uint8_t* const (&weights)[S], const uint8_t* group, I (&dots)[S][T]) {
  for (int s = 0; s < S; ++s) {
    for (int k = 0; k < 32; ++k) {
      for (int row = 0; row < 16; ++row) {
        const uint8_t byte = weights[s][k / 4 * 64 + row * 4 + k % 4];
        const int32_t w = !Unpacked        ? TileWeight<F>(weights[s], row, k)
                          : F == Form::kW8 ? static_cast<int8_t>(byte)
                                           : byte;
        for (int t = 0; t < T; ++t) {
          const int32_t a = static_cast<int8_t>(group[(k / 4 * T + t) * 4 + k % 4]);
          dots[s][t].lane[row] += w * a;
        }
      }
    }
  }
}
