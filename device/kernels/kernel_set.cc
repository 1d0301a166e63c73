#include "device/kernels/kernel_set.h"

#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "device/cpu_features.h"
#include "device/device_factory.h"

namespace baton::device {
namespace kernels {

extern const KernelTable* const kScalarTable;
#if defined(__x86_64__)
extern const KernelTable* const kAvx2Table;
extern const KernelTable* const kAvxVnniTable;
extern const KernelTable* const kAvx512VnniTable;
extern const KernelTable* const kAmxTable;
#endif

namespace {

struct Level {
  const KernelTable* table;
  bool available;
};

// Best first; the last one runs everywhere.
std::vector<Level> Levels() {
  std::vector<Level> levels;
#if defined(__x86_64__)
  const CpuFeatures& cpu = HostCpuFeatures();
  levels.push_back({kAmxTable, cpu.amx});
  levels.push_back({kAvx512VnniTable, cpu.avx512vnni});
  levels.push_back({kAvxVnniTable, cpu.avx_vnni});
  levels.push_back({kAvx2Table, cpu.avx2});
#endif
  levels.push_back({kScalarTable, true});
  return levels;
}

}  // namespace

absl::StatusOr<const KernelTable*> ChooseKernels(const std::string& isa) {
  const char* environment = std::getenv("BATON_ISA");
  const std::string wanted = !isa.empty() ? isa : environment != nullptr ? environment : "";
  std::vector<std::string> known;
  for (const Level& level : Levels()) {
    if (wanted.empty() ? level.available : wanted == level.table->isa) {
      if (level.available) return level.table;
      return absl::FailedPreconditionError(absl::StrCat(
          "ISA level '", wanted,
          "': this CPU lacks it; available: ", absl::StrJoin(AvailableIsaLevels(), ", ")));
    }
    known.push_back(level.table->isa);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("ISA level '", wanted, "' is unknown: needs ", absl::StrJoin(known, ", ")));
}

}  // namespace kernels

std::vector<std::string> AvailableIsaLevels() {
  std::vector<std::string> names;
  for (const kernels::Level& level : kernels::Levels()) {
    if (level.available) names.push_back(level.table->isa);
  }
  return names;
}

}  // namespace baton::device
