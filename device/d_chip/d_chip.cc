#include "device/d_chip/d_chip.h"

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

// Weights are read packed, once a step for the whole batch, until a batch is so large that
// unpacking pays. Attention of new tokens as on p_chip: decode has one a sequence.
constexpr int64_t kPanelRowsMin = 33;
constexpr int32_t kAttentionRowBlock = 16;

class DChip final : public Device {
 public:
  DChip(const kernels::KernelTable& table, int threads)
      : cpu_(table, threads),
        panel_rows_min_(std::min<int64_t>(kPanelRowsMin, table.panel_rows_min)) {}

  absl::string_view name() const override { return "d_chip"; }
  std::string description() const override {
    return absl::StrCat("d_chip: ", cpu_.table.isa, ", ", cpu_.team.size(),
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
    kernels::RunAttention(args, kAttentionRowBlock, cpu_);
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

absl::StatusOr<std::unique_ptr<Device>> MakeDChip(const DeviceOptions& options) {
  BATON_ASSIGN_OR_RETURN(const kernels::KernelTable* table, kernels::ChooseKernels(options.isa));
  return std::make_unique<DChip>(*table, options.threads);
}

}  // namespace baton::device
