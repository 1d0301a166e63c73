// How far below its objective a request would stay.
#pragma once

#include <algorithm>

namespace baton::router {

// The part of the objective that is left over: 1 when nothing of it is used, 0 when it is missed. 1
// without an objective (slo_seconds <= 0).
inline double SloHeadroomScore(double seconds, double slo_seconds) {
  if (slo_seconds <= 0) return 1;
  return std::clamp(1.0 - seconds / slo_seconds, 0.0, 1.0);
}

}  // namespace baton::router
