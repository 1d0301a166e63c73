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

// What a cache files a block under: the chained hash that nodes tell each other, and 128 more bits
// chained over the same tokens, which are compared on a hit: a hash alone is no proof.
struct BlockKey {
  uint64_t hash = 0;
  uint64_t check_low = 0, check_high = 0;
  friend bool operator==(const BlockKey&, const BlockKey&) = default;
};

// The chain's start; its hash is BlockHashSeed's.
BlockKey BlockKeySeed(uint64_t model_fingerprint, absl::string_view salt);

// Appends the keys of the full blocks of `tokens` that `keys` does not have yet; `keys` holds those
// of the first blocks of the same tokens. Their hashes are BlockHashes'.
void ExtendBlockKeys(absl::Span<const int32_t> tokens, int32_t block_tokens, const BlockKey& seed,
                     std::vector<BlockKey>* keys);

}  // namespace baton::kvcache
