// The bytes of blocks as frames carry them.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kvcache/kv_store.h"

namespace baton::kvcache {

// One layer of `blocks` in their order; neighbours in memory become one piece.
std::vector<absl::Span<const uint8_t>> BlockPieces(const KvStore& store, int32_t layer,
                                                   absl::Span<const int32_t> blocks);

// The reverse: copies a payload of blocks.size() * BlockLayerBytes() bytes, as the pieces in which
// it came, into one layer of `blocks`.
void CopyIntoBlocks(const KvStore& store, int32_t layer, absl::Span<const int32_t> blocks,
                    absl::Span<const absl::Span<const uint8_t>> payload);

// Tokens [begin, end) of a sequence.
struct TokenRange {
  int64_t begin = 0, end = 0;
};

// Blocks of another size than the store's, as a frame carries them.
struct ForeignBlocks {
  int32_t block_tokens = 0;
  int32_t block_begin = 0, block_count = 0;  // in the sequence's table of such blocks
  absl::Span<const absl::Span<const uint8_t>> payload;
};

// Copies of `theirs` the tokens in `range`, whose ends are multiples of 16, into one layer of
// `blocks`: the first of them holds token range.begin. The store's dtype has one number an element.
void ConvertIntoBlocks(const KvStore& store, int32_t layer, absl::Span<const int32_t> blocks,
                       TokenRange range, const ForeignBlocks& theirs);

}  // namespace baton::kvcache
