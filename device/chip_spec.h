// What a chip is, as far as a timing model needs to know. Read from deploy/chips/*.textproto, where
// every number carries its source.
#pragma once

#include <string>
#include <vector>

namespace baton::device {

// Peak rate of dense multiply-adds on one number format, in operations (a multiply-add is two) per
// second of the whole package.
struct PeakRates {
  double int8 = 0, fp8 = 0, bf16 = 0, fp32 = 0;  // 0: the chip has none
};

// A level of memory of the whole package, the fastest first.
struct MemoryLevel {
  std::string name;  // "sram", "stacked dram"
  double capacity_bytes = 0;
  double bandwidth_bytes_per_s = 0;
  double latency_s = 0;  // of a read that waits for nothing else
};

struct Link {
  double bandwidth_bytes_per_s = 0;  // one way
  double latency_s = 0;
};

struct ChipSpec {
  std::string name;         // "d_chip_gen1"
  std::string description;  // one line
  bool exists = true;  // false: of silicon that is planned, so that every figure of it is a model's
  int dies = 1;
  PeakRates peak;
  std::vector<MemoryLevel> memory;  // at least one
  Link die_link;                    // between dies of a package
  Link chip_link;                   // of one chip to its super-node
  double power_w = 0;               // of the package under load; 0: not known
  double price_usd = 0;             // 0: not public
  // Share of the peaks that well-tuned kernels reach; 1: the roof itself.
  double compute_efficiency = 1, memory_efficiency = 1;
};

}  // namespace baton::device
