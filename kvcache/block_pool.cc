#include "kvcache/block_pool.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "base/check.h"

namespace baton::kvcache {
namespace {

constexpr uint8_t kFree = 0;
constexpr uint8_t kLeased = 1;
constexpr uint8_t kUsed = 2;

}  // namespace

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

BlockPool::BlockPool(int32_t blocks) : total_(blocks) {
  BATON_CHECK(blocks >= 0, "a pool cannot hold a negative number of blocks");
  state_.assign(blocks, kFree);
  // Last in, first out: a block that was just freed is still in the caches. Block 0 leaves first.
  free_.reserve(blocks);
  for (int32_t id = blocks - 1; id >= 0; --id) free_.push_back(id);
}

BlockPool::~BlockPool() {
  MutexLock lock(mutex_);
  BATON_CHECK(free_.size() == static_cast<size_t>(total_), "a BlockRef outlives its pool");
}

absl::StatusOr<std::vector<BlockRef>> BlockPool::Allocate(int32_t count, Use use) {
  if (count < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("kvcache: cannot allocate %d blocks: need a count >= 0", count));
  }
  std::vector<BlockRef> blocks;
  blocks.reserve(count);
  MutexLock lock(mutex_);
  const int32_t free_count = static_cast<int32_t>(free_.size());
  if (count > free_count) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("kvcache: need %d blocks, %d free of %d", count, free_count, total_));
  }
  for (int32_t i = 0; i < count; ++i) {
    const int32_t id = free_.back();
    free_.pop_back();
    state_[id] = use == Use::kLeased ? kLeased : kUsed;
    blocks.push_back(BlockRef(this, id));
  }
  if (use == Use::kLeased) leased_ += count;
  return blocks;
}

void BlockPool::Promote(const std::vector<BlockRef>& blocks) {
  MutexLock lock(mutex_);
  for (const BlockRef& block : blocks) {
    BATON_CHECK(block.pool_ == this, "a block of another pool");
    if (state_[block.id_] == kUsed) continue;
    BATON_CHECK(state_[block.id_] == kLeased, "an owned block is leased or used");
    state_[block.id_] = kUsed;
    --leased_;
  }
}

BlockPool::Stats BlockPool::stats() const {
  MutexLock lock(mutex_);
  const int32_t free_count = static_cast<int32_t>(free_.size());
  return {.total = total_,
          .free = free_count,
          .leased = leased_,
          .used = total_ - free_count - leased_};
}

void BlockPool::Release(int32_t id) {
  MutexLock lock(mutex_);
  BATON_CHECK(state_[id] != kFree, "a block is given back once");
  if (state_[id] == kLeased) --leased_;
  state_[id] = kFree;
  free_.push_back(id);
}

}  // namespace baton::kvcache
