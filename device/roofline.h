// Modelled time, bytes, operations and energy of an op on a chip that is described by its spec
// (Williams et al. 2009: an op takes the longer of its arithmetic and its memory traffic). Nothing
// here was measured, and no result may be shown without the word `modelled`.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "device/chip_spec.h"

namespace baton::device {

// The number format of an op's multiplications.
enum class Arithmetic : uint8_t { kInt8, kFp8, kBf16, kFp32 };

// What an op does, whatever computes it.
struct OpWork {
  std::string name;  // "layer: gate, up"
  Arithmetic arithmetic = Arithmetic::kBf16;
  double flops = 0;             // multiplications and additions
  double weight_bytes = 0;      // read once
  double kv_bytes = 0;          // keys and values read or written
  double activation_bytes = 0;  // in and out
  double link_bytes = 0;        // that each must receive from the others (all-reduce, all-to-all)
  bool between_chips = false;   // over the links between chips instead of those between dies
  double repeats = 1;           // as often as that, one after the other

  double bytes() const { return weight_bytes + kv_bytes + activation_bytes; }
};

enum class Bound : uint8_t { kCompute, kMemory, kLink, kLatency };

// All repeats together.
struct OpCost {
  double seconds = 0;
  double compute_s = 0, memory_s = 0, link_s = 0,
         latency_s = 0;  // each for itself; they overlap but for latency
  double joules = 0;     // of the package's power over that time; 0 where the spec has no power
  Bound bound = Bound::kMemory;
};

// Peak of `arithmetic`; where the chip lacks it, of the next wider one that it has (a chip without
// int8 computes in fp8 or bf16). InvalidArgument when it has none at all.
absl::StatusOr<double> PeakFor(const ChipSpec& chip, Arithmetic arithmetic);

// The level that holds `bytes` bytes that are read again at each step: the fastest that is large
// enough, or nullptr.
const MemoryLevel* LevelFor(const ChipSpec& chip, double bytes);

// Cost of the op with its weights and its cache in `level`, split over all dies of the package.
// InvalidArgument when the chip lacks the arithmetic.
absl::StatusOr<OpCost> Cost(const ChipSpec& chip, const MemoryLevel& level, const OpWork& work);

// "compute", "memory", "link" or "latency".
const char* BoundName(Bound bound);

}  // namespace baton::device
