// The blocks of one sequence in order of position, and their ids as kernels read them.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "kvcache/block_pool.h"

namespace baton::kvcache {

// Owned by one sequence; not thread-safe. Blocks go back to the pool when it is destroyed or
// cleared, the last first.
class BlockTable {
 public:
  BlockTable() = default;
  BlockTable(BlockTable&&) = default;
  BlockTable& operator=(BlockTable&& other) {
    Clear();
    ids_ = std::move(other.ids_);
    refs_ = std::move(other.refs_);
    return *this;
  }
  ~BlockTable() { Clear(); }

  void Append(std::vector<BlockRef> blocks) {
    for (BlockRef& block : blocks) {
      ids_.push_back(block.id());
      refs_.push_back(std::move(block));
    }
  }
  void Clear() {
    ids_.clear();
    GiveBack(std::exchange(refs_, {}));
  }
  absl::Span<const int32_t> ids() const { return ids_; }
  int32_t size() const { return static_cast<int32_t>(ids_.size()); }
  const std::vector<BlockRef>& refs() const { return refs_; }

 private:
  std::vector<BlockRef> refs_;
  std::vector<int32_t> ids_;
};

// Blocks that hold `tokens` tokens.
inline int32_t BlocksFor(int64_t tokens, int32_t block_tokens) {
  return static_cast<int32_t>((tokens + block_tokens - 1) / block_tokens);
}

// Blocks of a prompt of `tokens` that can be reused: full ones, and never all of the prompt,
// because at least its last token must be computed for the next one to be drawn.
inline int32_t ReusableBlocks(int64_t tokens, int32_t block_tokens) {
  return tokens < 1 ? 0 : static_cast<int32_t>((tokens - 1) / block_tokens);
}

}  // namespace baton::kvcache
