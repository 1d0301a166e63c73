// Where the engine meets the prefix cache: what sequences take from it and give to it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/sequence.h"
#include "kvcache/prefix_cache.h"

namespace baton::engine {

// Runs on the engine's thread. Without a cache (null) everything is computed.
class PrefixReuse {
 public:
  PrefixReuse(kvcache::PrefixCache* cache, int32_t block_tokens)
      : cache_(cache), block_tokens_(block_tokens) {}

  // The sequences that may run now, in order of arrival. Left out is a sequence without blocks
  // whose next block an earlier one is about to compute: it waits for that block instead of
  // computing it twice (the choices of one request share their prompt so).
  std::vector<Sequence*> Ready(const std::vector<std::unique_ptr<Sequence>>& sequences) const;
  // Gives a sequence without blocks those that are cached; at least one token stays uncomputed.
  void Attach(Sequence* sequence) const;
  // Files the full blocks that were computed, or received, since the last call.
  void File(Sequence* sequence) const;
  // Tokens that a sequence would have to compute if it started now, or nearly so.
  int64_t Uncached(const Sequence& sequence) const {
    const bool fresh = sequence.blocks.size() == 0;
    return sequence.uncomputed() - (fresh ? sequence.blocks_expected * block_tokens_ : 0);
  }

 private:
  void ExtendKeys(Sequence* sequence) const {
    cache_->ExtendKeys(sequence->tokens, sequence->cache_salt, &sequence->block_keys);
  }
  absl::Span<const kvcache::BlockKey> ReusableKeys(const Sequence& sequence) const {
    return absl::MakeConstSpan(sequence.block_keys)
        .first(kvcache::ReusableBlocks(sequence.length(), block_tokens_));
  }

  kvcache::PrefixCache* const cache_;
  const int64_t block_tokens_;
};

}  // namespace baton::engine
