#include "bench/load/arrivals.h"

#include <cmath>
#include <random>

namespace baton::bench {

std::vector<double> ArrivalTimes(int count, double requests_per_s, double burstiness,
                                 uint64_t seed) {
  std::vector<double> times(count, 0.0);
  if (count == 0 || std::isinf(requests_per_s)) return times;
  std::mt19937_64 random(seed);
  std::gamma_distribution<double> gap_s(burstiness, 1 / (requests_per_s * burstiness));
  double at_s = 0;
  for (double& time : times) {
    at_s += gap_s(random);
    time = at_s;
  }
  const double scale = at_s > 0 ? count / requests_per_s / at_s : 1;
  for (double& time : times) time *= scale;
  return times;
}

}  // namespace baton::bench
