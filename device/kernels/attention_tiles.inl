// Tiles of 64 keys and values: brought into scratch as floats, or read where they lie in the cache.
// Included inside a namespace, after the lanes and float_ops.inl.

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

// A tile in scratch: keys [head_dim][64], values [64][padded value_dim].
struct ScratchTile {
  const float* keys;
  const float* values;
  int32_t padded;

  V Key(int32_t d, int32_t vector) const { return Load(keys + d * kTileKeys + vector * 16); }
  V Value(int64_t token, int32_t d) const { return Load(values + token * padded + d); }
  void FetchNext(int32_t) const {}
};

// The same for caches of bfloat16, with the rounded queries: [rows][head_dim rounded up to 32].
struct Bf16Tile {
  const float* keys;
  const float* values;
  const float* queries;
};

// A tile in the cache, in four pieces of 16 keys; and the tile that comes next, whose lines arrive
// while this one is used. Keys that are not there are read as some that are.
template <KvNumber Number>
class CacheTile {
 public:
  // The keys [first, min(first + 64, end)) of `head`.
  CacheTile(const KvHead& head, int64_t first, int64_t end)
      : key_step_(head.block_tokens * kBytes), value_step_(head.head_dim * kBytes) {
    for (int p = 0; p < 4; ++p) {
      const int64_t token = first + p * 16 < end ? first + p * 16 : first;
      const uint8_t* block = BlockOf(head, token);
      const int64_t slot = token % head.block_tokens;
      keys_[p] = block + head.key_offset + slot * kBytes;
      values_[p] = block + head.value_offset + slot * value_step_;
    }
  }

  // Of another head or sequence, perhaps; equal in all that a layer's cache has in common.
  void SetNext(const KvHead& head, int64_t first, int64_t end) {
    const int64_t step = head.block_tokens < kTileKeys ? head.block_tokens : kTileKeys;
    for (int64_t token = first; token < first + kTileKeys && token < end; token += step) {
      const uint8_t* block = BlockOf(head, token);
      next_[pieces_++] = block + head.key_offset;
      next_[pieces_++] = block + head.value_offset;
    }
  }

  V Key(int32_t d, int32_t vector) const {
    return LoadNumbers(Number, keys_[vector] + d * key_step_);
  }
  V Value(int64_t token, int32_t d) const {
    return LoadNumbers(Number, values_[token / 16] + token % 16 * value_step_ + d * kBytes);
  }
  // Keys and values of a block are head_dim times key_step_ bytes each: dimension d's share.
  void FetchNext(int32_t d) const {
    for (int p = 0; p < pieces_; ++p) {
      for (int64_t b = 0; b < key_step_; b += 64) PrefetchLine(next_[p] + d * key_step_ + b);
    }
  }

 private:
  static constexpr int64_t kBytes = Number == KvNumber::kF32 ? 4 : 2;
  static const uint8_t* BlockOf(const KvHead& head, int64_t token) {
    return head.layer_base + head.block_table[token / head.block_tokens] * head.block_bytes;
  }

  int64_t key_step_;    // bytes between dimensions
  int64_t value_step_;  // bytes between tokens
  const uint8_t* keys_[4];
  const uint8_t* values_[4];
  const uint8_t* next_[8];
  int pieces_ = 0;
};
