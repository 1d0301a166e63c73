#include "engine/prefix_reuse.h"

#include <unordered_set>
#include <utility>

namespace baton::engine {

std::vector<Sequence*> PrefixReuse::Ready(
    const std::vector<std::unique_ptr<Sequence>>& sequences) const {
  std::vector<Sequence*> ready;
  std::unordered_set<uint64_t> next;  // the block that each computes next, by its hash
  for (const auto& owned : sequences) {
    Sequence* sequence = owned.get();
    if (cache_ == nullptr || sequence->reading.needs_every_row()) {
      ready.push_back(sequence);
      continue;
    }
    if (sequence->uncomputed() == 1 && sequence->blocks.size() > 0) {
      ready.push_back(sequence);  // it decodes: nobody else has the same block to compute
      continue;
    }
    ExtendKeys(sequence);
    const bool fresh = sequence->blocks.size() == 0;
    const absl::Span<const kvcache::BlockKey> keys = ReusableKeys(*sequence);
    size_t block = static_cast<size_t>(sequence->computed / block_tokens_);
    if (fresh) {
      sequence->blocks_expected = cache_->Peek(keys, sequence->blocks_expected);
      block = static_cast<size_t>(sequence->blocks_expected);
    }
    if (block < keys.size() && !next.insert(keys[block].hash).second && fresh) continue;
    ready.push_back(sequence);
  }
  return ready;
}

void PrefixReuse::Attach(Sequence* sequence) const {
  if (cache_ == nullptr || sequence->blocks.size() > 0) return;
  if (sequence->reading.needs_every_row()) return;
  ExtendKeys(sequence);
  std::vector<kvcache::BlockRef> blocks = cache_->Lookup(ReusableKeys(*sequence));
  sequence->blocks_filed = static_cast<int32_t>(blocks.size());
  sequence->computed = sequence->blocks_filed * block_tokens_;
  sequence->blocks.Append(std::move(blocks));
  if (sequence->first_step == absl::Time()) sequence->cached_tokens = sequence->computed;
}

void PrefixReuse::File(Sequence* sequence) const {
  if (cache_ == nullptr) return;
  const int64_t full = sequence->computed / block_tokens_;
  if (sequence->blocks_filed >= full) return;
  ExtendKeys(sequence);
  for (; sequence->blocks_filed < full; ++sequence->blocks_filed) {
    const int32_t block = sequence->blocks_filed;
    cache_->Insert(sequence->block_keys[block], sequence->blocks.refs()[block]);
  }
}

}  // namespace baton::engine
