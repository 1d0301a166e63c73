// Blocks as files in a folder, which survive the process. Nothing that is read from there is
// believed: each file carries its key and an xxh3-64 checksum of its bytes.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "kvcache/tiers/host_tier.h"
#include "kvcache/tiers/tier_stats.h"

namespace baton::kvcache {

// Thread-safe; calls read and write files on the caller's thread. Blocks of one layout are in a
// folder of that name in the tier's folder; those of other layouts, which an earlier process left,
// count and are the first to make room.
class DiskTier {
 public:
  // Takes over the entries that `folder` has, the most recently used of them up to `bytes_max`;
  // makes the folder where there is none. Files of another name are left alone. Errors name the
  // path and the reason: InvalidArgument where another process has it, NotFound where it cannot be
  // made or read.
  static absl::StatusOr<std::unique_ptr<DiskTier>> Open(const std::string& folder,
                                                        const std::string& layout,
                                                        int64_t bytes_max);
  ~DiskTier();

  // Writes a block and deletes the least recently used ones that the limit has no room for. Returns
  // the hashes of blocks that are gone, which is the block's own where it cannot be written.
  std::vector<uint64_t> Put(const StoredBlock& block);
  bool Contains(const BlockKey& key) const;
  // False where it is not there or has another size than `out`, or where it is damaged: then it is
  // deleted, counted, and `*gone` is set.
  bool Get(const BlockKey& key, absl::Span<uint8_t> out, bool* gone);
  // Counts as used just now, where it is there.
  void Refresh(const BlockKey& key);
  bool HasHash(uint64_t hash) const;
  std::vector<uint64_t> Hashes() const;
  TierStats stats() const;
  void CountHit(double seconds);

 private:
  struct Entry {
    BlockKey key;
    int64_t bytes = 0;                    // of the file
    std::list<uint64_t>::iterator place;  // in order_
  };
  // A block of another layout.
  struct Foreign {
    std::string path;
    int64_t bytes = 0;
  };
  DiskTier(const std::string& folder, const std::string& layout, int64_t bytes_max);
  absl::Status Lock();
  absl::Status Scan();
  std::string PathOf(const BlockKey& key) const;
  void Add(const BlockKey& key, int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Forgets an entry and deletes its file.
  void Erase(uint64_t hash) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Deletes until `bytes` more have room, or nothing is left; returns the hashes of what is gone.
  std::vector<uint64_t> MakeRoom(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string root_;    // for all layouts
  const std::string folder_;  // of this layout, in root_
  const int64_t bytes_max_;
  int lock_file_ = -1;  // held open: no other process uses root_
  mutable Mutex mutex_;
  std::unordered_map<uint64_t, Entry> entries_ ABSL_GUARDED_BY(mutex_);  // by the key's hash
  std::list<uint64_t> order_ ABSL_GUARDED_BY(mutex_);    // the least recently used first
  std::deque<Foreign> foreign_ ABSL_GUARDED_BY(mutex_);  // the least recently used first
  TierStats stats_ ABSL_GUARDED_BY(mutex_);              // `bytes` has the foreign ones, too
};

}  // namespace baton::kvcache
