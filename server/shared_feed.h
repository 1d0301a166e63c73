// One prefix cache, told to several routers.
#pragma once

#include <deque>
#include <vector>

#include "base/mutex.h"
#include "proto/node.pb.h"
#include "server/registration.h"

namespace baton::server {

// A cache tells each change once; here each of `readers` hears all of them. Thread-safe.
class SharedFeed {
 public:
  // Changes that wait for a reader that does not take them; one that is further behind is told
  // everything anew.
  static constexpr size_t kWaitingMax = 1024;

  // What `source` uses must outlive it. `source` may be empty: then nothing is told.
  SharedFeed(CacheFeed source, size_t readers) : source_(std::move(source)), queues_(readers) {}

  // For the registration number `reader`; this object must outlive it.
  CacheFeed Reader(size_t reader);

 private:
  struct Queue {
    std::deque<v1::CacheEvents> events;
    bool behind = true;  // is told everything anew before it hears of changes
  };
  // From now on the reader is told everything anew.
  void Restart(size_t reader) ABSL_LOCKS_EXCLUDED(mutex_);
  bool Take(size_t reader, v1::CacheEvents* events) ABSL_LOCKS_EXCLUDED(mutex_);

  const CacheFeed source_;
  Mutex mutex_;
  std::vector<Queue> queues_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace baton::server
