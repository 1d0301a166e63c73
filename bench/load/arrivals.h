// When requests are sent.
#pragma once

#include <cstdint>
#include <vector>

namespace baton::bench {

// Send times in seconds from the start of `count` requests at `requests_per_s` (infinite: all at
// 0). Gaps are drawn from a gamma distribution of shape `burstiness`: 1 is a Poisson process, below
// 1 is burstier, above 1 more even. The times are scaled so that the last one is count /
// requests_per_s, as in `vllm bench serve`.
std::vector<double> ArrivalTimes(int count, double requests_per_s, double burstiness,
                                 uint64_t seed);

}  // namespace baton::bench
