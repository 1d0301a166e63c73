#include "kvcache/block_pool.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "base/check.h"

namespace baton::kvcache {

BlockRef::BlockRef(BlockRef&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), id_(std::exchange(other.id_, -1)) {}

BlockRef& BlockRef::operator=(BlockRef&& other) noexcept {
  if (this != &other) {
    if (pool_ != nullptr) pool_->Release(id_);
    pool_ = std::exchange(other.pool_, nullptr);
    id_ = std::exchange(other.id_, -1);
  }
  return *this;
}

BlockRef::~BlockRef() {
  if (pool_ != nullptr) pool_->Release(id_);
}

BlockRef BlockRef::Share() const {
  if (pool_ != nullptr) pool_->Share(id_);
  return BlockRef(pool_, id_);
}

void GiveBack(std::vector<BlockRef> blocks) {
  while (!blocks.empty()) blocks.pop_back();
}

BlockPool::BlockPool(int32_t blocks) : total_(blocks) {
  BATON_CHECK(blocks >= 0, "a pool cannot hold a negative number of blocks");
  blocks_.resize(blocks);
  // Last in, first out: a block that was just freed is still in the caches. Block 0 leaves first.
  free_.reserve(blocks);
  for (int32_t id = blocks - 1; id >= 0; --id) free_.push_back(id);
}

BlockPool::~BlockPool() {
  MutexLock lock(mutex_);
  BATON_CHECK(free_.size() + cached_ == static_cast<size_t>(total_),
              "a BlockRef outlives its pool");
}

absl::StatusOr<std::vector<BlockRef>> BlockPool::Allocate(int32_t count, Use use) {
  if (count < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("kvcache: cannot allocate %d blocks: need a count >= 0", count));
  }
  std::vector<BlockRef> blocks;
  blocks.reserve(count);
  std::vector<int32_t> evicted;
  BlockEvictor* evictor = nullptr;
  {
    MutexLock lock(mutex_);
    const int32_t available = static_cast<int32_t>(free_.size()) + cached_;
    if (count > available) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("kvcache: need %d blocks, %d free of %d", count, available, total_));
    }
    evictor = evictor_;
    for (int32_t i = 0; i < count; ++i) {
      int32_t id;
      if (!free_.empty()) {
        id = free_.back();
        free_.pop_back();
      } else {
        id = oldest_;
        RemoveCached(id);
        evicted.push_back(id);
      }
      Block& block = blocks_[id];
      block.kept = false;
      block.shares = 1;
      ++block.contents;
      SetState(block, use == Use::kLeased ? State::kLeased : State::kUsed);
      blocks.push_back(BlockRef(this, id));
    }
  }
  if (evictor != nullptr && !evicted.empty()) evictor->OnEvicted(evicted);
  return blocks;
}

void BlockPool::Promote(const std::vector<BlockRef>& blocks) {
  MutexLock lock(mutex_);
  for (const BlockRef& ref : blocks) {
    BATON_CHECK(ref.pool_ == this, "a block of another pool");
    Block& block = blocks_[ref.id_];
    if (block.state == State::kUsed) continue;
    BATON_CHECK(block.state == State::kLeased, "an owned block is leased or used");
    SetState(block, State::kUsed);
  }
}

BlockPool::Stats BlockPool::stats() const {
  MutexLock lock(mutex_);
  const int32_t free_count = static_cast<int32_t>(free_.size());
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  // The engine asks at each step: builds for finding bugs count the blocks one by one.
  int32_t counted[4] = {};
  for (const Block& block : blocks_) ++counted[static_cast<size_t>(block.state)];
  BATON_CHECK(counted[static_cast<size_t>(State::kFree)] == free_count &&
                  counted[static_cast<size_t>(State::kLeased)] == leased_ &&
                  counted[static_cast<size_t>(State::kCached)] == cached_,
              "free, leased, used and cached blocks do not add up");
#endif
  return {.total = total_,
          .free = free_count,
          .leased = leased_,
          .used = total_ - free_count - leased_ - cached_,
          .cached = cached_};
}

uint64_t BlockPool::Keep(const BlockRef& block) {
  BATON_CHECK(block.pool_ == this, "a block of another pool");
  MutexLock lock(mutex_);
  Block& kept = blocks_[block.id_];
  BATON_CHECK(kept.state == State::kUsed, "what a lease writes is not complete");
  kept.kept = true;
  return kept.contents;
}

std::optional<BlockRef> BlockPool::Acquire(int32_t id, uint64_t contents) {
  MutexLock lock(mutex_);
  Block& block = blocks_[id];
  if (!block.kept || block.contents != contents) return std::nullopt;
  if (block.state == State::kCached) {
    RemoveCached(id);
    SetState(block, State::kUsed);
  }
  ++block.shares;
  return BlockRef(this, id);
}

void BlockPool::Forget(int32_t id, uint64_t contents) {
  MutexLock lock(mutex_);
  Block& block = blocks_[id];
  if (!block.kept || block.contents != contents) return;
  block.kept = false;
  if (block.state != State::kCached) return;
  RemoveCached(id);
  SetState(block, State::kFree);
  free_.push_back(id);
}

std::vector<int32_t> BlockPool::Cached() const {
  std::vector<int32_t> ids;
  MutexLock lock(mutex_);
  for (int32_t id = oldest_; id >= 0; id = blocks_[id].newer) ids.push_back(id);
  return ids;
}

void BlockPool::SetEvictor(BlockEvictor* evictor) {
  MutexLock lock(mutex_);
  evictor_ = evictor;
}

void BlockPool::Share(int32_t id) {
  MutexLock lock(mutex_);
  Block& block = blocks_[id];
  BATON_CHECK(block.state == State::kUsed, "a lease has one writer");
  ++block.shares;
}

void BlockPool::Release(int32_t id) {
  MutexLock lock(mutex_);
  Block& block = blocks_[id];
  BATON_CHECK(block.shares > 0, "a block is given back once");
  if (--block.shares > 0) return;
  if (block.kept) {
    SetState(block, State::kCached);
    AppendCached(id);
  } else {
    SetState(block, State::kFree);
    free_.push_back(id);
  }
}

void BlockPool::SetState(Block& block, State state) {
  if (block.state == State::kLeased) --leased_;
  if (state == State::kLeased) ++leased_;
  block.state = state;
}

void BlockPool::AppendCached(int32_t id) {
  Block& block = blocks_[id];
  block.older = newest_;
  block.newer = -1;
  (newest_ >= 0 ? blocks_[newest_].newer : oldest_) = id;
  newest_ = id;
  ++cached_;
}

void BlockPool::RemoveCached(int32_t id) {
  Block& block = blocks_[id];
  (block.older >= 0 ? blocks_[block.older].newer : oldest_) = block.newer;
  (block.newer >= 0 ? blocks_[block.newer].older : newest_) = block.older;
  --cached_;
}

}  // namespace baton::kvcache
