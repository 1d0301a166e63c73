// How much room a decode node has.
#pragma once

#include <algorithm>
#include <cstdint>

namespace baton::router {

// The part of the pool that is free after `blocks_needed` are taken, in [0, 1]. Blocks that only
// the prefix cache holds count as free.
inline double FreeBlocksScore(int64_t blocks_free, int64_t blocks_needed, int64_t blocks_total) {
  if (blocks_total <= 0) return 0;
  const double left = static_cast<double>(blocks_free - blocks_needed);
  return std::clamp(left / static_cast<double>(blocks_total), 0.0, 1.0);
}

}  // namespace baton::router
