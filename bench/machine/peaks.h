// The arithmetic roofs of one core: loops that do nothing but multiply and add, one set per
// instruction-set level.
#pragma once

#include <cstdint>
#include <vector>

namespace baton::bench {

// A loop of `rounds` rounds over independent accumulators in registers; returns a value that
// depends on all of them, so that nothing is optimised away.
using PeakLoop = uint32_t (*)(int64_t rounds);

struct Peak {
  const char* name;   // "int8 dot, AVX-512 VNNI"
  const char* level;  // key of the result: "int8_avx512vnni"
  PeakLoop loop;
  int64_t ops_a_round;  // multiplications and additions
};

// What this CPU can run of the levels that the program was built with.
std::vector<Peak> AvailablePeaks();

}  // namespace baton::bench
