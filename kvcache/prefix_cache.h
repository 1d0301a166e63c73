// Finds blocks by the tokens that they hold, so that no prompt's beginning is computed twice.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "kvcache/block_hash.h"
#include "kvcache/block_pool.h"
#include "kvcache/block_table.h"
#include "kvcache/kv_store.h"
#include "kvcache/tiers/tier_store.h"

namespace baton::kvcache {

// Full blocks of computed tokens, filed under the chained key of all tokens up to their end. The
// blocks stay the pool's: one that nobody uses is kept until the pool needs its room, the least
// recently used first. Thread-safe.
class PrefixCache final : public BlockEvictor {
 public:
  struct Stats {
    int64_t blocks = 0;      // filed now, in the pool
    int64_t hit_blocks = 0;  // handed out since start
    int64_t collisions = 0;  // equal hashes of different tokens since start
  };
  // What came and went since the last look.
  struct Changes {
    bool reset = false;  // forget what was known first
    std::vector<uint64_t> stored, removed;
  };

  // `pool` must outlive the cache; `block_tokens` is the size of its blocks. Keys of different
  // models, by their fingerprint, never match.
  PrefixCache(BlockPool& pool, int32_t block_tokens, uint64_t model_fingerprint);
  // Writes what is cached to the disk tier, if there is one, so that the next process has it.
  ~PrefixCache() override;

  // Appends the keys that `keys` lacks for the full blocks of `tokens`. Tokens under different
  // salts never match.
  void ExtendKeys(absl::Span<const int32_t> tokens, absl::string_view salt,
                  std::vector<BlockKey>* keys) const;

  // Shares in the blocks of the longest prefix of `keys` that is there. Pass at most
  // ReusableBlocks of a prompt.
  std::vector<BlockRef> Lookup(absl::Span<const BlockKey> keys);
  // How many blocks Lookup would find, or nearly so: looks only around `guess`, an earlier answer.
  int32_t Peek(absl::Span<const BlockKey> keys, int32_t guess) const;
  // Files a block whose tokens are computed; from now on its contents must not change. False where
  // the key is filed already: the earlier block stays.
  bool Insert(const BlockKey& key, const BlockRef& block);

  // From now on blocks that the pool has no room for go to `tiers`, and come back from there by
  // BringBack. `store` holds the pool's blocks and must outlive the cache. Call before use.
  void SetTiers(std::unique_ptr<TierStore> tiers, const KvStore& store);
  bool has_tiers() const { return tiers_ != nullptr; }
  const TierStore* tiers() const { return tiers_.get(); }
  // Whether the first block of `keys` that is not in the pool is in a tier.
  bool CanBringBack(absl::Span<const BlockKey> keys) const;
  // Copies blocks of the longest prefix of `keys` from the tiers into the pool, as far as it has
  // room beside what is used. Takes as long as reading them does.
  void BringBack(absl::Span<const BlockKey> keys);

  // Changes are collected from the first call on, which resets the feed: the next Changes say so
  // and hold all that is there.
  void RestartFeed();
  // The changes since the last call, at most about `hashes_max` hashes of them; false when there
  // are none.
  bool TakeChanges(int64_t hashes_max, Changes* changes);

  Stats stats() const;
  int32_t block_tokens() const { return block_tokens_; }

  void OnEvicted(absl::Span<const int32_t> blocks) override;

 private:
  struct Entry {
    BlockKey key;
    int32_t block = -1;
    uint64_t contents = 0;  // of the block, as the pool numbers them
  };
  void SaveToDisk();
  std::optional<BlockRef> Find(const BlockKey& key) const;
  void OnTiersDropped(const std::vector<uint64_t>& hashes);
  // Notes that a hash came or went.
  void Note(uint64_t hash, bool present) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  BlockPool& pool_;
  const int32_t block_tokens_;
  const uint64_t model_fingerprint_;
  std::unique_ptr<TierStore> tiers_;
  const KvStore* store_ = nullptr;  // where there are tiers
  mutable Mutex mutex_;
  std::unordered_map<uint64_t, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint64_t> hash_of_block_ ABSL_GUARDED_BY(mutex_);  // where one is filed
  int64_t hit_blocks_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t collisions_ ABSL_GUARDED_BY(mutex_) = 0;
  bool feeding_ ABSL_GUARDED_BY(mutex_) = false;
  bool reset_ ABSL_GUARDED_BY(mutex_) = false;
  std::unordered_map<uint64_t, bool> changed_ ABSL_GUARDED_BY(mutex_);  // hash -> is it there now
};

}  // namespace baton::kvcache
