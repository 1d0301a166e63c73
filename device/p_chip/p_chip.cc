#include "device/p_chip/p_chip.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "device/host_memory.h"
#include "device/kernels/cpu_context.h"
#include "device/kernels/kernel_set.h"
#include "device/kernels/packed_weight.h"
#include "device/kernels/run_attention.h"
#include "device/kernels/run_experts.h"
#include "device/kernels/run_head_linear.h"
#include "device/kernels/run_linear.h"
#include "device/kernels/run_rows.h"

namespace baton::device {
namespace {

// Unpacking weights into panels pays where that many rows share them (measured on Zen 5; on CPUs
// with fewer vector ports it pays earlier). Attention takes sixteen new tokens at a time, so that a
// tile of keys and values serves all of them and all heads of the group.
constexpr int64_t kPanelRowsMin = 24;
constexpr int32_t kAttentionRowBlock = 16;
// Where a matrix unit attends, bringing a tile into its form costs as much as three rows of it.
constexpr int32_t kMatrixRowBlock = 64;

class PChip final : public Device {
 public:
  PChip(const kernels::KernelTable& table, int threads)
      : cpu_(table, threads),
        panel_rows_min_(std::min<int64_t>(kPanelRowsMin, table.panel_rows_min)) {}

  absl::string_view name() const override { return "p_chip"; }
  std::string description() const override {
    return absl::StrCat("p_chip: ", cpu_.table.isa, ", ", cpu_.team.size(),
                        cpu_.team.size() == 1 ? " thread" : " threads");
  }

 protected:
  absl::StatusOr<Buffer> DoAllocate(size_t bytes) override { return AllocateHost(bytes); }
  absl::StatusOr<std::unique_ptr<Weight>> DoPrepare(const StoredTensor& stored) override {
    return kernels::PackedWeight::Pack(stored, cpu_.team, cpu_.weights);
  }
  void DoEmbed(const EmbedArgs& args) override { kernels::RunEmbed(args, cpu_); }
  void DoRmsNorm(const RmsNormArgs& args) override { kernels::RunRmsNorm(args, cpu_); }
  void DoLinear(const LinearArgs& args) override {
    kernels::RunLinear(args, panel_rows_min_, cpu_);
  }
  void DoGatedLinear(const GatedLinearArgs& args) override {
    kernels::RunGatedLinear(args, panel_rows_min_, cpu_);
  }
  void DoRope(const RopeArgs& args) override { kernels::RunRope(args, cpu_); }
  void DoAppendKv(const AppendKvArgs& args) override { kernels::RunAppendKv(args, cpu_); }
  void DoAttention(const AttentionArgs& args) override {
    const bool matrix = args.kv.geometry.dtype == DType::kBF16;
    kernels::RunAttention(args, matrix ? kMatrixRowBlock : kAttentionRowBlock, cpu_);
  }
  void DoGatherRows(const GatherRowsArgs& args) override { kernels::RunGatherRows(args, cpu_); }
  void DoHeadLinear(const HeadLinearArgs& args) override { kernels::RunHeadLinear(args, cpu_); }
  void DoCopyHeads(const CopyHeadsArgs& args) override { kernels::RunCopyHeads(args, cpu_); }
  void DoExperts(const ExpertsArgs& args) override {
    kernels::RunExperts(args, panel_rows_min_, cpu_);
  }

 private:
  kernels::CpuContext cpu_;
  const int64_t panel_rows_min_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> MakePChip(const DeviceOptions& options) {
  BATON_ASSIGN_OR_RETURN(const kernels::KernelTable* table, kernels::ChooseKernels(options.isa));
  return std::make_unique<PChip>(*table, options.threads);
}

}  // namespace baton::device
