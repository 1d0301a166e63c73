// How near a node comes to the fastest one.
#pragma once

#include <algorithm>

namespace baton::router {

// 1 for the node with the least seconds, half for one that takes twice as long. A millisecond is
// added to both, so that differences below it do not count. For waits for a first token and for
// times between tokens alike.
inline double LatencyScore(double seconds, double best_seconds) {
  constexpr double kGrain = 1e-3;
  return std::clamp((best_seconds + kGrain) / (seconds + kGrain), 0.0, 1.0);
}

}  // namespace baton::router
