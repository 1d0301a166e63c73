#include "kvcache/transfer/block_bytes.h"

#include <algorithm>
#include <cstring>

namespace baton::kvcache {

std::vector<absl::Span<const uint8_t>> BlockPieces(const KvStore& store, int32_t layer,
                                                   absl::Span<const int32_t> blocks) {
  const size_t block_bytes = store.geometry().BlockLayerBytes();
  std::vector<absl::Span<const uint8_t>> pieces;
  for (int32_t block : blocks) {
    const uint8_t* data = store.BlockLayer(layer, block);
    if (!pieces.empty() && pieces.back().data() + pieces.back().size() == data) {
      pieces.back() = {pieces.back().data(), pieces.back().size() + block_bytes};
    } else {
      pieces.push_back({data, block_bytes});
    }
  }
  return pieces;
}

void CopyIntoBlocks(const KvStore& store, int32_t layer, absl::Span<const int32_t> blocks,
                    absl::Span<const absl::Span<const uint8_t>> payload) {
  const int64_t block_bytes = store.geometry().BlockLayerBytes();
  size_t block = 0;
  int64_t offset = 0;
  for (absl::Span<const uint8_t> piece : payload) {
    while (!piece.empty()) {
      const size_t count = std::min<size_t>(piece.size(), block_bytes - offset);
      std::memcpy(store.BlockLayer(layer, blocks[block]) + offset, piece.data(), count);
      piece.remove_prefix(count);
      offset += count;
      if (offset == block_bytes) {
        ++block;
        offset = 0;
      }
    }
  }
}

namespace {

// Reads a payload that came in pieces as one string of bytes.
class PieceReader {
 public:
  explicit PieceReader(absl::Span<const absl::Span<const uint8_t>> pieces) : pieces_(pieces) {}
  void Read(absl::Span<uint8_t> out) {
    while (!out.empty()) {
      const size_t count = std::min(out.size(), pieces_[piece_].size() - offset_);
      std::memcpy(out.data(), pieces_[piece_].data() + offset_, count);
      out.remove_prefix(count);
      offset_ += count;
      if (offset_ == pieces_[piece_].size()) {
        ++piece_;
        offset_ = 0;
      }
    }
  }

 private:
  const absl::Span<const absl::Span<const uint8_t>> pieces_;
  size_t piece_ = 0;
  size_t offset_ = 0;
};

// Slots [from, from + tokens) of a block become slots [to, to + tokens) of another, in one layer.
void CopyTokens(const device::KvGeometry& from_shape, const uint8_t* from_keys, int64_t from,
                const device::KvGeometry& to_shape, uint8_t* to_keys, int64_t to, int64_t tokens) {
  const int64_t element = device::BlockBytes(to_shape.dtype);
  const int64_t dims = to_shape.head_dim;
  for (int64_t row = 0; row < to_shape.kv_heads * dims; ++row) {
    std::memcpy(to_keys + (row * to_shape.block_tokens + to) * element,
                from_keys + (row * from_shape.block_tokens + from) * element, tokens * element);
  }
  if (to_shape.latent_dim > 0) return;
  uint8_t* to_values = to_keys + to_shape.KeyBytes();
  const uint8_t* from_values = from_keys + from_shape.KeyBytes();
  for (int64_t head = 0; head < to_shape.kv_heads; ++head) {
    std::memcpy(to_values + (head * to_shape.block_tokens + to) * dims * element,
                from_values + (head * from_shape.block_tokens + from) * dims * element,
                tokens * dims * element);
  }
}

}  // namespace

void ConvertIntoBlocks(const KvStore& store, int32_t layer, absl::Span<const int32_t> blocks,
                       TokenRange range, const ForeignBlocks& theirs) {
  const device::KvGeometry& to_shape = store.geometry();
  device::KvGeometry from_shape = to_shape;
  from_shape.block_tokens = theirs.block_tokens;
  const int64_t run = std::min(to_shape.block_tokens, from_shape.block_tokens);
  std::vector<uint8_t> block(from_shape.BlockLayerBytes());
  PieceReader reader(theirs.payload);
  const int64_t first_block = range.begin / to_shape.block_tokens;
  for (int32_t i = 0; i < theirs.block_count; ++i) {
    reader.Read(absl::MakeSpan(block));
    const int64_t block_start = (int64_t{theirs.block_begin} + i) * from_shape.block_tokens;
    for (int64_t slot = 0; slot < from_shape.block_tokens; slot += run) {
      const int64_t token = block_start + slot;
      if (token < range.begin || token >= range.end) continue;
      const int32_t to_block = blocks[token / to_shape.block_tokens - first_block];
      CopyTokens(from_shape, block.data(), slot, to_shape, store.BlockLayer(layer, to_block),
                 token % to_shape.block_tokens, run);
    }
  }
}

}  // namespace baton::kvcache
