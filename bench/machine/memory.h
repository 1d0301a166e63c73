// The memory roofs: how fast threads read, and how long one load takes, at each level of the
// hierarchy.
#pragma once

#include <cstdint>

#include "device/thread_team.h"

namespace baton::bench {

// Bytes per second that the team reads together, each member its own `bytes` again and again: the
// best of several rounds. Huge pages are asked for.
double ReadBandwidth(device::ThreadTeam& team, int64_t bytes);

// Seconds from one load to the next that depends on it, over a random cycle through `bytes`.
double LoadLatency(int64_t bytes);

// Seconds of an empty run of the team: hand-out and join.
double TeamRunSeconds(device::ThreadTeam& team);
// Seconds of one barrier within a run.
double BarrierSeconds(device::ThreadTeam& team);

}  // namespace baton::bench
