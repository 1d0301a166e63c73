// How keys and values lie in memory: the meeting point of kvcache (who owns blocks), models and
// attention kernels.
//
// One block holds `block_tokens` tokens of one sequence, for all layers. Within one layer a block
// is contiguous, in the dtype of the geometry:
//
//   keys    [kv_heads][head_dim][block_tokens]     lanes of a vector run over tokens
//   values  [kv_heads][block_tokens][head_dim]     lanes of a vector run over the head
//   dimension
//
// so that neither q*k nor p*v needs a horizontal sum (docs/kv_format.md gives every byte). A latent
// cache (multi-head latent attention, DeepSeek-V2 2024) holds keys only: the value of a token is
// the end of its key. Where blocks of one layer follow each other is the view's business: KvStore
// keeps all layers of a block together, so that a short sequence touches few pages.
#pragma once

#include <cstdint>

#include "device/dtype.h"

namespace baton::device {

// Shape of a KV cache. Equal geometry means that bytes can be copied as they are.
struct KvGeometry {
  int32_t layers = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t block_tokens = 0;   // 16, 32 or 64
  DType dtype = DType::kF16;  // of keys and values
  // 0: values are stored, head_dim of them a token and head. Otherwise none are: the value of a
  // token is the last latent_dim numbers of its key (at most head_dim).
  int32_t latent_dim = 0;

  int32_t value_dim() const { return latent_dim > 0 ? latent_dim : head_dim; }
  int64_t KeyBytes() const {
    return int64_t{kv_heads} * head_dim * block_tokens * BlockBytes(dtype);
  }
  int64_t ValueBytes() const { return latent_dim > 0 ? 0 : KeyBytes(); }
  // Keys and values of one block in one layer.
  int64_t BlockLayerBytes() const { return KeyBytes() + ValueBytes(); }
  // One block over all layers.
  int64_t BlockBytesTotal() const { return layers * BlockLayerBytes(); }
  friend bool operator==(const KvGeometry&, const KvGeometry&) = default;
};

// One layer of a paged KV cache.
struct PagedKvView {
  KvGeometry geometry;
  uint8_t* layer_base = nullptr;  // block 0 of this layer
  int32_t blocks = 0;             // blocks in the pool
  // Between the same layer of neighbouring blocks; 0: the layer's blocks are dense
  // (BlockLayerBytes()).
  int64_t block_stride_bytes = 0;

  int64_t block_stride() const {
    return block_stride_bytes > 0 ? block_stride_bytes : geometry.BlockLayerBytes();
  }
  uint8_t* keys(int32_t block) const { return layer_base + int64_t{block} * block_stride(); }
  uint8_t* values(int32_t block) const { return keys(block) + geometry.KeyBytes(); }
};

// The rows of a batch that belong to one sequence, and where its keys and values are.
struct SequenceRows {
  int32_t row_begin = 0;                 // first row of this sequence in the batch's matrices
  int32_t row_count = 0;                 // new tokens of this step, >= 1
  int64_t position = 0;                  // absolute position of the first of them
  const int32_t* block_table = nullptr;  // [block_count] physical blocks, in order of position
  int32_t block_count = 0;               // covers at least position + row_count tokens
};

}  // namespace baton::device
