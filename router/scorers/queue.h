// How soon a node would start on a prompt.
#pragma once

#include <algorithm>

namespace baton::router {

// 1 for no wait, falling towards 0 as it grows: 1 / (1 + seconds).
inline double QueueScore(double wait_seconds) { return 1.0 / (1.0 + std::max(wait_seconds, 0.0)); }

}  // namespace baton::router
