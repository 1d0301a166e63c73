// Chained hashes of token blocks: equal hashes mean equal tokens from the start of the sequence.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace baton::kvcache {

// The chain's start: what must be equal besides the tokens. `salt` separates tenants.
uint64_t BlockHashSeed(uint64_t model_fingerprint, absl::string_view salt);

// One xxh3-64 per full block: hash[i] covers hash[i-1] (the seed for i = 0) and the block's token
// ids as little-endian int32. An incomplete last block has none.
std::vector<uint64_t> BlockHashes(absl::Span<const int32_t> tokens, int32_t block_tokens,
                                  uint64_t seed);

}  // namespace baton::kvcache
