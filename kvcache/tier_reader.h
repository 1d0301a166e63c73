// Brings blocks back from the tiers before a sequence looks for them in the pool, on a thread of
// its own: neither a step of the engine nor a thread of gRPC waits for a disk.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "kvcache/prefix_cache.h"

namespace baton::kvcache {

// Thread-safe.
class TierReader {
 public:
  // `cache` (null: there is nothing to bring back) must outlive the reader.
  explicit TierReader(PrefixCache* cache);
  ~TierReader();  // after what was asked for is done

  // Brings back what the tiers have of the longest prefix of `keys` and then runs `then`, exactly
  // once: at once, on the caller's thread, where the tiers have nothing to add.
  void BringBack(std::vector<BlockKey> keys, std::function<void()> then);

 private:
  struct Task {
    std::vector<BlockKey> keys;
    std::function<void()> then;
  };
  void Loop();

  PrefixCache* const cache_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace baton::kvcache
