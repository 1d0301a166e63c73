// How much of a prompt a node holds already.
#pragma once

#include <algorithm>
#include <cstdint>

namespace baton::router {

// The part of the prompt whose keys and values are in the node's prefix cache, in [0, 1].
inline double PrefixAffinityScore(int64_t cached_tokens, int64_t prompt_tokens) {
  if (prompt_tokens <= 0) return 0;
  const double part = static_cast<double>(cached_tokens) / static_cast<double>(prompt_tokens);
  return std::clamp(part, 0.0, 1.0);
}

}  // namespace baton::router
