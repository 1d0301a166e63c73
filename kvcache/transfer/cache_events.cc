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

namespace {

template <typename Tier>
void FillTier(const char* name, const Tier* tier, v1::NodeLoad* load) {
  if (tier == nullptr) return;
  const TierStats stats = tier->stats();
  v1::CacheTier* told = load->add_tiers();
  told->set_name(name);
  told->set_blocks(stats.blocks);
  told->set_bytes(stats.bytes);
  told->set_hits(stats.hits);
  told->set_hit_seconds(stats.hit_seconds);
  told->set_dropped(stats.dropped);
  told->set_corrupt(stats.corrupt);
}

}  // namespace

void FillTiers(const PrefixCache* cache, v1::NodeLoad* load) {
  if (cache == nullptr || !cache->has_tiers()) return;
  FillTier("host", cache->tiers()->host(), load);
  FillTier("disk", cache->tiers()->disk(), load);
}

}  // namespace baton::kvcache
