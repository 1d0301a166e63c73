#include "kvcache/prefix_cache.h"

#include <utility>

namespace baton::kvcache {
PrefixCache::PrefixCache(BlockPool& pool, int32_t block_tokens, uint64_t model_fingerprint)
    : pool_(pool), block_tokens_(block_tokens), model_fingerprint_(model_fingerprint) {
  hash_of_block_.resize(pool.stats().total);
  pool_.SetEvictor(this);
}

PrefixCache::~PrefixCache() {
  pool_.SetEvictor(nullptr);
  MutexLock lock(mutex_);
  for (const auto& [hash, entry] : entries_) pool_.Forget(entry.block, entry.contents);
}

void PrefixCache::ExtendKeys(absl::Span<const int32_t> tokens, absl::string_view salt,
                             std::vector<BlockKey>* keys) const {
  const BlockKey seed = keys->empty() ? BlockKeySeed(model_fingerprint_, salt) : BlockKey();
  ExtendBlockKeys(tokens, block_tokens_, seed, keys);
}

std::vector<BlockRef> PrefixCache::Lookup(absl::Span<const BlockKey> keys) {
  std::vector<BlockRef> blocks;
  MutexLock lock(mutex_);
  for (const BlockKey& key : keys) {
    const auto found = entries_.find(key.hash);
    if (found == entries_.end()) break;
    if (!(found->second.key == key)) {
      ++collisions_;
      break;
    }
    // None where the block was taken just now, and OnEvicted is about to tell.
    std::optional<BlockRef> block = pool_.Acquire(found->second.block, found->second.contents);
    if (!block.has_value()) break;
    blocks.push_back(*std::move(block));
  }
  hit_blocks_ += static_cast<int64_t>(blocks.size());
  return blocks;
}

int32_t PrefixCache::Peek(absl::Span<const BlockKey> keys, int32_t guess) const {
  MutexLock lock(mutex_);
  const auto has = [&](int32_t i) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    const auto found = entries_.find(keys[i].hash);
    return found != entries_.end() && found->second.key == keys[i];
  };
  const int32_t count = static_cast<int32_t>(keys.size());
  int32_t blocks = guess < count ? guess : count;
  while (blocks > 0 && !has(blocks - 1)) --blocks;
  while (blocks < count && has(blocks)) ++blocks;
  return blocks;
}

bool PrefixCache::Insert(const BlockKey& key, const BlockRef& block) {
  MutexLock lock(mutex_);
  const auto found = entries_.find(key.hash);
  if (found != entries_.end()) {
    if (!(found->second.key == key)) ++collisions_;
    return false;
  }
  entries_.emplace(key.hash, Entry{key, block.id(), pool_.Keep(block)});
  hash_of_block_[block.id()] = key.hash;
  Note(key.hash, true);
  return true;
}

void PrefixCache::OnEvicted(absl::Span<const int32_t> blocks) {
  MutexLock lock(mutex_);
  for (const int32_t block : blocks) {
    const auto found = entries_.find(hash_of_block_[block]);
    if (found == entries_.end() || found->second.block != block) continue;
    Note(found->first, false);
    entries_.erase(found);
  }
}

void PrefixCache::Note(uint64_t hash, bool present) {
  if (feeding_) changed_[hash] = present;
}

void PrefixCache::RestartFeed() {
  MutexLock lock(mutex_);
  feeding_ = true;
  reset_ = true;
  changed_.clear();
  for (const auto& [hash, entry] : entries_) changed_[hash] = true;
}

bool PrefixCache::TakeChanges(int64_t hashes_max, Changes* changes) {
  *changes = Changes();
  MutexLock lock(mutex_);
  if (changed_.empty() && !reset_) return false;
  changes->reset = std::exchange(reset_, false);
  while (!changed_.empty() && hashes_max-- > 0) {
    const auto first = changed_.begin();
    (first->second ? changes->stored : changes->removed).push_back(first->first);
    changed_.erase(first);
  }
  return true;
}

PrefixCache::Stats PrefixCache::stats() const {
  MutexLock lock(mutex_);
  return {.blocks = static_cast<int64_t>(entries_.size()),
          .hit_blocks = hit_blocks_,
          .collisions = collisions_};
}

}  // namespace baton::kvcache
