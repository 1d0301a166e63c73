// Blocks in ordinary memory, the least recently used of which make room for others.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "absl/types/span.h"
#include "base/mutex.h"
#include "kvcache/block_hash.h"
#include "kvcache/tiers/tier_stats.h"

namespace baton::kvcache {

struct StoredBlock {
  BlockKey key;
  std::shared_ptr<const std::vector<uint8_t>> bytes;
};

// Thread-safe.
class HostTier {
 public:
  explicit HostTier(int64_t bytes_max) : bytes_max_(bytes_max) {}

  // Keeps a copy of `bytes`; returns the blocks that had to make room (this one, where it is larger
  // than the tier).
  std::vector<StoredBlock> Put(const BlockKey& key, absl::Span<const uint8_t> bytes);
  bool Contains(const BlockKey& key) const;
  // Moves a block out; null where it is not there.
  std::shared_ptr<const std::vector<uint8_t>> Take(const BlockKey& key);
  // Counts as used just now, where it is there.
  void Refresh(const BlockKey& key);
  bool HasHash(uint64_t hash) const;
  std::vector<uint64_t> Hashes() const;
  // All that is there, the least recently used first.
  std::vector<StoredBlock> Blocks() const;
  TierStats stats() const;
  void CountHit(double seconds);

 private:
  struct Entry {
    StoredBlock block;
    std::list<uint64_t>::iterator place;  // in order_
  };

  const int64_t bytes_max_;
  mutable Mutex mutex_;
  std::unordered_map<uint64_t, Entry> entries_ ABSL_GUARDED_BY(mutex_);  // by the key's hash
  std::list<uint64_t> order_ ABSL_GUARDED_BY(mutex_);  // the least recently used first
  TierStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace baton::kvcache
