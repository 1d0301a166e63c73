#include "server/shared_feed.h"

#include <utility>

namespace baton::server {

CacheFeed SharedFeed::Reader(size_t reader) {
  if (!source_.take) return {};
  return {.restart = [this, reader] { Restart(reader); },
          .take = [this, reader](v1::CacheEvents* events) { return Take(reader, events); }};
}

void SharedFeed::Restart(size_t reader) {
  MutexLock lock(mutex_);
  queues_[reader].behind = true;
}

bool SharedFeed::Take(size_t reader, v1::CacheEvents* events) {
  MutexLock lock(mutex_);
  Queue& own = queues_[reader];
  if (std::exchange(own.behind, false)) {
    // The reset that follows holds all that there is, for every reader.
    own.events.clear();
    source_.restart();
  }
  v1::CacheEvents change;
  while (source_.take(&change)) {
    for (Queue& queue : queues_) {
      if (queue.behind) continue;
      queue.events.push_back(change);
      if (queue.events.size() <= kWaitingMax) continue;
      queue.events.clear();
      queue.behind = true;
    }
    change.Clear();
  }
  if (own.events.empty()) return false;
  *events = std::move(own.events.front());
  own.events.pop_front();
  return true;
}

}  // namespace baton::server
