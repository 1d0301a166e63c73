// How much room a decode node has, and how short its batch is.
#pragma once

#include <cstdint>

namespace baton::router {

// The part of the pool that is free after `blocks_needed` are taken, in [0, 1].
double FreeBlocksScore(int64_t blocks_free, int64_t blocks_needed, int64_t blocks_total);

// 1 for an empty batch, falling towards 0 as it grows: 1 / (1 + sequences / 16). A step of a few
// more sequences costs little while weights dominate its memory traffic, so that the score falls
// slowly.
double BatchScore(int64_t sequences);

}  // namespace baton::router
