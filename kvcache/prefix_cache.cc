#include "kvcache/prefix_cache.h"

#include <algorithm>
#include <utility>

namespace baton::kvcache {
namespace {

// What comes back leaves one block in so many to running sequences.
constexpr int32_t kRoomLeft = 8;

}  // namespace

PrefixCache::PrefixCache(BlockPool& pool, int32_t block_tokens, uint64_t model_fingerprint)
    : pool_(pool), block_tokens_(block_tokens), model_fingerprint_(model_fingerprint) {
  hash_of_block_.resize(pool.stats().total);
  pool_.SetEvictor(this);
}

PrefixCache::~PrefixCache() {
  pool_.SetEvictor(nullptr);
  SaveToDisk();
  tiers_.reset();  // its thread may still tell what it dropped
  MutexLock lock(mutex_);
  for (const auto& [hash, entry] : entries_) pool_.Forget(entry.block, entry.contents);
}

void PrefixCache::SaveToDisk() {
  if (tiers_ == nullptr || tiers_->disk() == nullptr) return;
  tiers_->Close();
  for (const int32_t block : pool_.Cached()) {
    BlockKey key;
    {
      MutexLock lock(mutex_);
      const auto found = entries_.find(hash_of_block_[block]);
      if (found == entries_.end() || found->second.block != block) continue;
      key = found->second.key;
    }
    tiers_->PutOnDisk(key, store_->Block(block));
  }
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
  std::vector<Entry> evicted;
  {
    MutexLock lock(mutex_);
    for (const int32_t block : blocks) {
      const auto found = entries_.find(hash_of_block_[block]);
      if (found == entries_.end() || found->second.block != block) continue;
      if (tiers_ == nullptr) Note(found->first, false);
      evicted.push_back(found->second);
      entries_.erase(found);
    }
  }
  if (tiers_ == nullptr) return;
  for (const Entry& entry : evicted) tiers_->Put(entry.key, store_->Block(entry.block));
}

void PrefixCache::SetTiers(std::unique_ptr<TierStore> tiers, const KvStore& store) {
  tiers_ = std::move(tiers);
  store_ = &store;
  tiers_->set_on_dropped([this](const std::vector<uint64_t>& hashes) { OnTiersDropped(hashes); });
}

void PrefixCache::OnTiersDropped(const std::vector<uint64_t>& hashes) {
  MutexLock lock(mutex_);
  for (const uint64_t hash : hashes) {
    if (entries_.count(hash) == 0) Note(hash, false);
  }
}

std::optional<BlockRef> PrefixCache::Find(const BlockKey& key) const {
  MutexLock lock(mutex_);
  const auto found = entries_.find(key.hash);
  if (found == entries_.end() || !(found->second.key == key)) return std::nullopt;
  return pool_.Acquire(found->second.block, found->second.contents);
}

bool PrefixCache::CanBringBack(absl::Span<const BlockKey> keys) const {
  if (tiers_ == nullptr) return false;
  const int32_t here = Peek(keys, 0);
  return here < static_cast<int32_t>(keys.size()) && tiers_->Contains(keys[here]);
}

void PrefixCache::BringBack(absl::Span<const BlockKey> keys) {
  if (tiers_ == nullptr) return;
  // What leaves the pool for them must not push them out of the tiers.
  tiers_->Refresh(keys);
  std::vector<BlockRef> prefix;  // held, so that none of it makes room for the next
  for (const BlockKey& key : keys) {
    std::optional<BlockRef> block = Find(key);
    if (!block.has_value()) {
      const BlockPool::Stats pool = pool_.stats();
      if (!tiers_->Contains(key) || pool.available() <= pool.total / kRoomLeft) break;
      // Read before the pool makes room: what it gives up goes where this comes from.
      const std::shared_ptr<const std::vector<uint8_t>> bytes =
          tiers_->Take(key, static_cast<size_t>(store_->geometry().BlockBytesTotal()));
      if (bytes == nullptr) break;
      absl::StatusOr<std::vector<BlockRef>> room = pool_.Allocate(1, BlockPool::Use::kUsed);
      if (!room.ok()) {
        tiers_->Put(key, *bytes);
        break;
      }
      block = std::move(room->front());
      std::copy(bytes->begin(), bytes->end(), store_->Block(block->id()).begin());
      Insert(key, *block);
    }
    prefix.push_back(*std::move(block));
  }
  GiveBack(std::move(prefix));
}

void PrefixCache::Note(uint64_t hash, bool present) {
  if (feeding_) changed_[hash] = present;
}

void PrefixCache::RestartFeed() {
  const std::vector<uint64_t> below =
      tiers_ == nullptr ? std::vector<uint64_t>() : tiers_->Hashes();
  MutexLock lock(mutex_);
  feeding_ = true;
  reset_ = true;
  changed_.clear();
  for (const auto& [hash, entry] : entries_) changed_[hash] = true;
  for (const uint64_t hash : below) changed_[hash] = true;
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
