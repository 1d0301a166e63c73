// What a prefix cache tells the router.
#pragma once

#include "kvcache/prefix_cache.h"
#include "proto/node.pb.h"

namespace baton::kvcache {

// Hashes of one message: half a megabyte.
inline constexpr int64_t kCacheEventHashesMax = 65536;

// Fills in what changed since the last call, all but the sequence number; false when nothing did.
bool TakeCacheEvents(PrefixCache& cache, v1::CacheEvents* events);

// Tells of the tiers below a cache (null: of none).
void FillTiers(const PrefixCache* cache, v1::NodeLoad* load);

}  // namespace baton::kvcache
