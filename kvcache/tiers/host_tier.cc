#include "kvcache/tiers/host_tier.h"

#include <utility>

namespace baton::kvcache {

std::vector<StoredBlock> HostTier::Put(const BlockKey& key, absl::Span<const uint8_t> bytes) {
  std::vector<StoredBlock> gone;
  {
    MutexLock lock(mutex_);
    const auto found = entries_.find(key.hash);
    if (found != entries_.end() && found->second.block.key == key) {
      order_.splice(order_.end(), order_, found->second.place);
      return gone;
    }
    if (found != entries_.end()) return gone;  // a collision: the earlier one stays
  }
  StoredBlock block{key, std::make_shared<std::vector<uint8_t>>(bytes.begin(), bytes.end())};
  MutexLock lock(mutex_);
  order_.push_back(key.hash);
  const auto [entry, fresh] = entries_.emplace(key.hash, Entry{block, std::prev(order_.end())});
  if (!fresh) {
    order_.pop_back();
    return gone;
  }
  stats_.bytes += static_cast<int64_t>(bytes.size());
  ++stats_.blocks;
  while (stats_.bytes > bytes_max_) {
    const auto oldest = entries_.find(order_.front());
    stats_.bytes -= static_cast<int64_t>(oldest->second.block.bytes->size());
    --stats_.blocks;
    ++stats_.dropped;
    gone.push_back(std::move(oldest->second.block));
    entries_.erase(oldest);
    order_.pop_front();
  }
  return gone;
}

bool HostTier::Contains(const BlockKey& key) const {
  MutexLock lock(mutex_);
  const auto found = entries_.find(key.hash);
  return found != entries_.end() && found->second.block.key == key;
}

std::shared_ptr<const std::vector<uint8_t>> HostTier::Take(const BlockKey& key) {
  MutexLock lock(mutex_);
  const auto found = entries_.find(key.hash);
  if (found == entries_.end() || !(found->second.block.key == key)) return nullptr;
  const std::shared_ptr<const std::vector<uint8_t>> bytes = std::move(found->second.block.bytes);
  stats_.bytes -= static_cast<int64_t>(bytes->size());
  --stats_.blocks;
  order_.erase(found->second.place);
  entries_.erase(found);
  return bytes;
}

void HostTier::Refresh(const BlockKey& key) {
  MutexLock lock(mutex_);
  const auto found = entries_.find(key.hash);
  if (found != entries_.end()) order_.splice(order_.end(), order_, found->second.place);
}

bool HostTier::HasHash(uint64_t hash) const {
  MutexLock lock(mutex_);
  return entries_.count(hash) > 0;
}

std::vector<uint64_t> HostTier::Hashes() const {
  MutexLock lock(mutex_);
  return {order_.begin(), order_.end()};
}

std::vector<StoredBlock> HostTier::Blocks() const {
  std::vector<StoredBlock> blocks;
  MutexLock lock(mutex_);
  for (const uint64_t hash : order_) blocks.push_back(entries_.at(hash).block);
  return blocks;
}

TierStats HostTier::stats() const {
  MutexLock lock(mutex_);
  return stats_;
}

void HostTier::CountHit(double seconds) {
  MutexLock lock(mutex_);
  ++stats_.hits;
  stats_.hit_seconds += seconds;
}

}  // namespace baton::kvcache
