#include "kvcache/transfer/cache_events.h"

namespace baton::kvcache {

bool TakeCacheEvents(PrefixCache& cache, v1::CacheEvents* events) {
  PrefixCache::Changes changes;
  if (!cache.TakeChanges(kCacheEventHashesMax, &changes)) return false;
  events->Clear();
  events->set_reset(changes.reset);
  events->mutable_stored()->Assign(changes.stored.begin(), changes.stored.end());
  events->mutable_removed()->Assign(changes.removed.begin(), changes.removed.end());
  return true;
}

}  // namespace baton::kvcache
