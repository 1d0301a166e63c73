// The machine: CPU, memory, large pages, limits of the process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/doctor/finding.h"

namespace baton::cli {

struct MachineFacts {
  std::vector<std::string> isa_levels;             // best first, ends with "scalar"
  int cpus = 0;                                    // that this process may use
  double cpu_quota = 0;                            // CPUs that a container allows; 0: no limit
  double load = 0;                                 // processes that want a CPU, mean of a minute
  int64_t memory_total = 0, memory_available = 0;  // bytes
  int64_t memory_limit = 0;                        // of a container, bytes; 0: none
  std::string huge_pages;                          // "always", "madvise", "never"; empty: not known
  int64_t open_files = 0;                          // limit of this process
  bool clock_synchronised = true;
};

// Reads /proc and /sys below `root` ("" is this machine's).
MachineFacts ReadMachine(const std::string& root);

void JudgeMachine(const MachineFacts& facts, Findings* findings);

}  // namespace baton::cli
