// Who owns which block. Knows ids and counts, not memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/mutex.h"

namespace baton::kvcache {

class BlockPool;

// A share in one block; gives it back when destroyed. Movable; a copy is asked for by name.
class BlockRef {
 public:
  BlockRef() = default;
  BlockRef(BlockRef&& other) noexcept;
  BlockRef& operator=(BlockRef&& other) noexcept;
  BlockRef(const BlockRef&) = delete;
  BlockRef& operator=(const BlockRef&) = delete;
  ~BlockRef();
  int32_t id() const { return id_; }
  // Another share in the same block. Whoever shares a block only reads it.
  BlockRef Share() const;

 private:
  friend class BlockPool;
  BlockRef(BlockPool* pool, int32_t id) : pool_(pool), id_(id) {}
  BlockPool* pool_ = nullptr;
  int32_t id_ = -1;
};

// Gives blocks of a sequence back, the last one first: of blocks that are kept for later, those
// that stand at the beginning of a sequence then outlive those that follow.
void GiveBack(std::vector<BlockRef> blocks);

// Hears of kept blocks that were taken for something else.
class BlockEvictor {
 public:
  virtual ~BlockEvictor() = default;
  // Called from Allocate, on its thread and without a lock of the pool: the blocks belong to the
  // caller of Allocate from now on, and hold what they held until this returns.
  virtual void OnEvicted(absl::Span<const int32_t> blocks) = 0;
};

// A fixed number of blocks, sized at start. Thread-safe. Must outlive its BlockRefs.
//
// Each block is free, leased (reserved for a hand-over that has not committed), used (somebody
// holds a BlockRef) or cached (nobody does, but its contents are kept until another needs the
// room); free + leased + used + cached == total at every moment.
class BlockPool {
 public:
  enum class Use : uint8_t { kUsed, kLeased };
  struct Stats {
    int32_t total = 0, free = 0, leased = 0, used = 0, cached = 0;
    // What Allocate can give.
    int32_t available() const { return free + cached; }
  };

  explicit BlockPool(int32_t blocks);
  ~BlockPool();

  // All or none; kept blocks go when free ones do not suffice, the least recently used first.
  // ResourceExhausted: "kvcache: need 12 blocks, 3 free of 512".
  absl::StatusOr<std::vector<BlockRef>> Allocate(int32_t count, Use use);
  // Changes leased blocks to used ones (the hand-over committed).
  void Promote(const std::vector<BlockRef>& blocks);
  Stats stats() const;

  // Keeps the contents of a used block when its last share is given back. Returns a number that
  // names these contents: it changes when the block is allocated anew.
  uint64_t Keep(const BlockRef& block);
  // A share in kept contents; none where they are gone.
  std::optional<BlockRef> Acquire(int32_t id, uint64_t contents);
  // The contents need not be kept any more.
  void Forget(int32_t id, uint64_t contents);
  // The blocks that are cached, the least recently used first.
  std::vector<int32_t> Cached() const;
  // At most one; null removes it. Must outlive its use by Allocate.
  void SetEvictor(BlockEvictor* evictor);

 private:
  friend class BlockRef;
  enum class State : uint8_t { kFree, kLeased, kUsed, kCached };
  struct Block {
    State state = State::kFree;
    bool kept = false;
    int32_t shares = 0;
    uint64_t contents = 0;
    int32_t older = -1, newer = -1;  // neighbours among the cached ones
  };
  void Share(int32_t id);
  void Release(int32_t id);
  void SetState(Block& block, State state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AppendCached(int32_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveCached(int32_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int32_t total_;
  mutable Mutex mutex_;
  std::vector<int32_t> free_ ABSL_GUARDED_BY(mutex_);
  std::vector<Block> blocks_ ABSL_GUARDED_BY(mutex_);
  int32_t leased_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t cached_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t oldest_ ABSL_GUARDED_BY(mutex_) = -1, newest_ ABSL_GUARDED_BY(mutex_) = -1;
  BlockEvictor* evictor_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace baton::kvcache
