#include "router/cache_index.h"

#include <algorithm>

namespace baton::router {

void CacheIndex::Store(uint64_t node, Known* known, uint64_t hash) {
  if (stats_.entries >= entries_max_) {
    ++stats_.ignored;
    return;
  }
  if (!known->blocks.insert(hash).second) return;
  Holders& holders = holders_[hash];
  holders.insert(std::lower_bound(holders.begin(), holders.end(), node), node);
  ++stats_.entries;
}

void CacheIndex::Remove(uint64_t node, uint64_t hash) {
  const auto it = holders_.find(hash);
  if (it == holders_.end()) return;
  Holders& holders = it->second;
  const auto at = std::lower_bound(holders.begin(), holders.end(), node);
  if (at == holders.end() || *at != node) return;
  holders.erase(at);
  --stats_.entries;
  if (holders.empty()) holders_.erase(it);
}

void CacheIndex::Clear(uint64_t node, Known* known) {
  for (const uint64_t hash : known->blocks) Remove(node, hash);
  known->blocks.clear();
}

bool CacheIndex::Apply(uint64_t node, const CacheChange& change) {
  MutexLock lock(mutex_);
  Known& known = nodes_[node];
  const bool follows = change.sequence == known.next_sequence;
  known.next_sequence = change.sequence + 1;
  if (change.reset) {
    Clear(node, &known);
    known.lost = false;
  } else if (!follows && !known.lost) {
    Clear(node, &known);
    known.lost = true;
    ++stats_.gaps;
  }
  if (known.lost) return false;
  for (const uint64_t hash : change.stored) Store(node, &known, hash);
  for (const uint64_t hash : change.removed) {
    if (known.blocks.erase(hash) > 0) Remove(node, hash);
  }
  return true;
}

void CacheIndex::Forget(uint64_t node) {
  MutexLock lock(mutex_);
  const auto it = nodes_.find(node);
  if (it == nodes_.end()) return;
  Clear(node, &it->second);
  nodes_.erase(it);
}

std::vector<PrefixMatch> CacheIndex::Find(absl::Span<const uint64_t> hashes) const {
  std::vector<PrefixMatch> matches;
  if (hashes.empty()) return matches;
  MutexLock lock(mutex_);
  const auto first = holders_.find(hashes[0]);
  if (first == holders_.end()) return matches;
  std::vector<uint64_t> active(first->second.begin(), first->second.end());
  int32_t depth = 1;
  for (; depth < static_cast<int32_t>(hashes.size()); ++depth) {
    const auto it = holders_.find(hashes[depth]);
    if (it == holders_.end()) break;
    const Holders& holders = it->second;
    // The common case: a shared beginning.
    if (std::equal(active.begin(), active.end(), holders.begin(), holders.end())) continue;
    std::vector<uint64_t> both;
    auto other = holders.begin();
    for (const uint64_t node : active) {
      while (other != holders.end() && *other < node) ++other;
      if (other != holders.end() && *other == node) {
        both.push_back(node);
      } else {
        matches.push_back({node, depth});
      }
    }
    active = std::move(both);
    if (active.empty()) break;
  }
  for (const uint64_t node : active) matches.push_back({node, depth});
  std::sort(matches.begin(), matches.end(),
            [](const PrefixMatch& a, const PrefixMatch& b) { return a.node < b.node; });
  return matches;
}

CacheIndex::Stats CacheIndex::stats() const {
  MutexLock lock(mutex_);
  return stats_;
}

}  // namespace baton::router
