#include "router/scorers/free_blocks.h"

#include <algorithm>

namespace baton::router {

double FreeBlocksScore(int64_t blocks_free, int64_t blocks_needed, int64_t blocks_total) {
  if (blocks_total <= 0) return 0;
  const double left = static_cast<double>(blocks_free - blocks_needed);
  return std::clamp(left / static_cast<double>(blocks_total), 0.0, 1.0);
}

double BatchScore(int64_t sequences) {
  return 1.0 / (1.0 + static_cast<double>(std::max<int64_t>(sequences, 0)) / 16.0);
}

}  // namespace baton::router
