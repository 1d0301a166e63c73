// The tiers below the pool as one: host memory, then disk.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "kvcache/tiers/disk_tier.h"
#include "kvcache/tiers/host_tier.h"

namespace baton::kvcache {

// Thread-safe. What host memory has no room for is written to disk by a thread of this class. At
// most 256 MiB wait for it, more is dropped: losing a cached block costs time, waiting for a disk
// would cost everybody's.
class TierStore {
 public:
  struct Options {
    int64_t host_bytes = 0;   // 0: no host tier
    std::string disk_folder;  // empty: no disk tier
    std::string disk_layout;  // names the layout of the blocks: others are never read
    int64_t disk_bytes = 0;
  };
  // Errors of DiskTier::Open.
  static absl::StatusOr<std::unique_ptr<TierStore>> Create(const Options& options,
                                                           const Clock& clock);
  ~TierStore();  // closes

  // Takes a copy of a block's bytes.
  void Put(const BlockKey& key, absl::Span<const uint8_t> bytes);
  // The process is about to end: waits until the disk, if there is one, has what it waits for and
  // what host memory holds. After it only PutOnDisk may be called, which waits, too.
  void Close();
  void PutOnDisk(const BlockKey& key, absl::Span<const uint8_t> bytes);
  bool Contains(const BlockKey& key) const;
  // A block of `size` bytes; null where no tier has it whole. It leaves host memory, so that what
  // leaves the pool for it finds room there, and stays on disk.
  std::shared_ptr<const std::vector<uint8_t>> Take(const BlockKey& key, size_t size);
  // These are about to be read: until then others make room, the last of these before the first.
  void Refresh(absl::Span<const BlockKey> keys);
  // Of all that is there, possibly some twice.
  std::vector<uint64_t> Hashes() const;
  // Runs when a block is in no tier any more, on any thread and without a lock held. Set before
  // use.
  void set_on_dropped(std::function<void(const std::vector<uint64_t>&)> on_dropped) {
    on_dropped_ = std::move(on_dropped);
  }
  // Null where there is no such tier.
  const HostTier* host() const { return host_.get(); }
  const DiskTier* disk() const { return disk_.get(); }

 private:
  explicit TierStore(const Clock& clock) : clock_(clock) {}
  bool HasHash(uint64_t hash) const;
  void WriteLoop();
  // Tells of those of `hashes` that no tier has.
  void TellDropped(std::vector<uint64_t> hashes);
  void QueueForDisk(std::vector<StoredBlock> blocks);

  const Clock& clock_;
  std::unique_ptr<HostTier> host_;
  std::unique_ptr<DiskTier> disk_;
  std::function<void(const std::vector<uint64_t>&)> on_dropped_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<StoredBlock> waiting_ ABSL_GUARDED_BY(mutex_);  // for the disk; the first is written
  size_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread writer_;
};

}  // namespace baton::kvcache
