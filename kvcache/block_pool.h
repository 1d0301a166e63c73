// Who owns which block. Knows ids and counts, not memory.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/mutex.h"

namespace baton::kvcache {

class BlockPool;

// One owned block; gives it back when destroyed. Movable, not copyable.
class BlockRef {
 public:
  BlockRef() = default;
  BlockRef(BlockRef&& other) noexcept;
  BlockRef& operator=(BlockRef&& other) noexcept;
  BlockRef(const BlockRef&) = delete;
  BlockRef& operator=(const BlockRef&) = delete;
  ~BlockRef();
  int32_t id() const { return id_; }

 private:
  friend class BlockPool;
  BlockRef(BlockPool* pool, int32_t id) : pool_(pool), id_(id) {}
  BlockPool* pool_ = nullptr;
  int32_t id_ = -1;
};

// A fixed number of blocks, sized at start. Thread-safe. Must outlive its BlockRefs.
//
// Each block is free, leased (reserved for a hand-over that has not committed) or used (owned by a
// running sequence); free + leased + used == total at every moment.
class BlockPool {
 public:
  enum class Use : uint8_t { kUsed, kLeased };
  struct Stats {
    int32_t total = 0, free = 0, leased = 0, used = 0;
  };

  explicit BlockPool(int32_t blocks);
  ~BlockPool();

  // All or none. ResourceExhausted: "kvcache: need 12 blocks, 3 free of 512".
  absl::StatusOr<std::vector<BlockRef>> Allocate(int32_t count, Use use);
  // Changes leased blocks to used ones (the hand-over committed).
  void Promote(const std::vector<BlockRef>& blocks);
  Stats stats() const;

 private:
  friend class BlockRef;
  void Release(int32_t id);

  const int32_t total_;
  mutable Mutex mutex_;
  std::vector<int32_t> free_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint8_t> state_ ABSL_GUARDED_BY(mutex_);
  int32_t leased_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace baton::kvcache
