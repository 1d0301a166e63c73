// What a tier holds and did, for load reports.
#pragma once

#include <cstdint>

namespace baton::kvcache {

struct TierStats {
  int64_t blocks = 0;      // there now
  int64_t bytes = 0;       // of them
  int64_t hits = 0;        // blocks that came back, since start
  double hit_seconds = 0;  // that reading them took, since start
  int64_t dropped = 0;     // blocks that had to go, since start
  int64_t corrupt = 0;     // entries that were not what they should be, since start
};

}  // namespace baton::kvcache
