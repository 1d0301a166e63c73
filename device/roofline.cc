#include "device/roofline.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::device {

absl::StatusOr<double> PeakFor(const ChipSpec& chip, Arithmetic arithmetic) {
  const double wider[] = {chip.peak.int8, chip.peak.fp8, chip.peak.bf16, chip.peak.fp32};
  for (size_t i = static_cast<size_t>(arithmetic); i < std::size(wider); ++i) {
    if (wider[i] > 0) return wider[i];
  }
  return absl::InvalidArgumentError(
      absl::StrCat("chip ", chip.name, " has no arithmetic wide enough: its spec gives no peak"));
}

const MemoryLevel* LevelFor(const ChipSpec& chip, double bytes) {
  for (const MemoryLevel& level : chip.memory) {
    if (level.capacity_bytes >= bytes) return &level;
  }
  return nullptr;
}

absl::StatusOr<OpCost> Cost(const ChipSpec& chip, const MemoryLevel& level, const OpWork& work) {
  BATON_ASSIGN_OR_RETURN(const double peak, PeakFor(chip, work.arithmetic));
  OpCost cost;
  cost.compute_s = work.flops / (peak * chip.compute_efficiency);
  cost.memory_s = work.bytes() / (level.bandwidth_bytes_per_s * chip.memory_efficiency);
  cost.latency_s = level.latency_s;
  const Link& link = work.between_chips ? chip.chip_link : chip.die_link;
  if (work.link_bytes > 0 && link.bandwidth_bytes_per_s > 0) {
    cost.link_s = work.link_bytes / link.bandwidth_bytes_per_s;
    cost.latency_s += link.latency_s;
  }
  const double longest = std::max({cost.compute_s, cost.memory_s, cost.link_s});
  cost.bound = longest < cost.latency_s    ? Bound::kLatency
               : longest == cost.compute_s ? Bound::kCompute
               : longest == cost.memory_s  ? Bound::kMemory
                                           : Bound::kLink;
  cost.seconds = (longest + cost.latency_s) * work.repeats;
  for (double* part : {&cost.compute_s, &cost.memory_s, &cost.link_s, &cost.latency_s}) {
    *part *= work.repeats;
  }
  cost.joules = chip.power_w * cost.seconds;
  return cost;
}

const char* BoundName(Bound bound) {
  switch (bound) {
    case Bound::kCompute:
      return "compute";
    case Bound::kMemory:
      return "memory";
    case Bound::kLink:
      return "link";
    case Bound::kLatency:
      return "latency";
  }
  return "";
}

}  // namespace baton::device
