// Which nodes hold which blocks of prompts in their prefix caches, as the nodes' event streams
// tell.
//
// A block is known by its chained hash (kvcache/block_hash.h), so that the number of leading hashes
// of a prompt that a node holds is the prefix that it need not compute. The index may know less
// than is true (events under way, a gap, the bound on memory), which costs a missed chance; where
// it knows more (a block just evicted), the node computes what it lacks. It never decides about
// correctness.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "base/mutex.h"

namespace baton::router {

// What one message of a node's stream says; `removed` is applied after `stored`.
struct CacheChange {
  uint64_t sequence = 0;  // 1, 2, 3, ... in one registration
  bool reset = false;     // forget what was known of this node first
  absl::Span<const uint64_t> stored;
  absl::Span<const uint64_t> removed;
};

// A node that holds the first `blocks` blocks of a prompt.
struct PrefixMatch {
  uint64_t node = 0;
  int32_t blocks = 0;
};

// Thread-safe. Nodes are named by the numbers of their registrations: one that starts again is
// another one.
class CacheIndex {
 public:
  // At most `entries_max` pairs of a node and a block are kept; later ones are not taken in.
  explicit CacheIndex(size_t entries_max) : entries_max_(entries_max) {}

  // False after a gap in the sequence numbers: what was known of the node is forgotten, and
  // everything that comes is ignored until a reset.
  bool Apply(uint64_t node, const CacheChange& change) ABSL_LOCKS_EXCLUDED(mutex_);
  // The node's registration has ended.
  void Forget(uint64_t node) ABSL_LOCKS_EXCLUDED(mutex_);

  // Every node that holds at least the first block of the prompt with these hashes, by ascending
  // node. Costs one look-up a block, however many nodes there are.
  std::vector<PrefixMatch> Find(absl::Span<const uint64_t> hashes) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  struct Stats {
    size_t entries = 0;    // pairs of a node and a block
    uint64_t gaps = 0;     // streams that lost a message
    uint64_t ignored = 0;  // blocks beyond entries_max
  };
  Stats stats() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // Ascending. Short for most blocks; all nodes for a system prompt.
  using Holders = absl::InlinedVector<uint64_t, 2>;
  struct Known {
    uint64_t next_sequence = 1;
    bool lost = false;  // after a gap
    absl::flat_hash_set<uint64_t> blocks;
  };
  void Store(uint64_t node, Known* known, uint64_t hash) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remove(uint64_t node, uint64_t hash) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Clear(uint64_t node, Known* known) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t entries_max_;
  mutable Mutex mutex_;
  absl::flat_hash_map<uint64_t, Known> nodes_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, Holders> holders_ ABSL_GUARDED_BY(mutex_);  // by block hash
  Stats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace baton::router
