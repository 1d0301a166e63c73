// Whether a prompt's beginning is fetched from a peer or computed.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace baton::prefill_node {

// What the choice depends on. Rates are measured; 0: not yet.
struct FetchFacts {
  int32_t blocks_here = 0;      // of the prompt, that this node has cached
  int32_t blocks_there = 0;     // that the peer is believed to have
  int32_t blocks_reusable = 0;  // of the prompt: all but the end that must be computed
  int32_t block_tokens = 0;
  int64_t block_bytes = 0;
  double bytes_per_s = 0;   // of transfers from the peer
  double tokens_per_s = 0;  // of prefill on this node
};

struct FetchPlan {
  int32_t begin = 0, end = 0;  // blocks to fetch; none: compute
  absl::Duration timeout;      // what comes later is not worth waiting for
};

// Fetches where the transfer takes less time than computing the same tokens. Where a rate is not
// known yet it fetches, which measures it.
FetchPlan PlanFetch(const FetchFacts& facts);

}  // namespace baton::prefill_node
