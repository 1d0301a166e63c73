#include "device/plugin/plugin_device.h"

#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "device/cpu_reference/cpu_reference.h"
#include "device/kernels/repack.h"
#include "device/plugin/call_watch.h"
#include "device/plugin/plugin_args.h"

namespace baton::device {
namespace {

constexpr const char* kOpNames[BATON_OP_COUNT] = {
    "embed",     "rms_norm",    "linear",      "gated_linear", "rope",   "append_kv",
    "attention", "gather_rows", "head_linear", "copy_heads",   "experts"};
constexpr DType kWeightDTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16,
                                   DType::kQ8_0, DType::kQ4_0, DType::kQ4_1};
constexpr baton_op kWeightOps[] = {BATON_OP_EMBED, BATON_OP_LINEAR, BATON_OP_GATED_LINEAR,
                                   BATON_OP_HEAD_LINEAR, BATON_OP_EXPERTS};

void WarnOnStderr(const std::string& warning) {
  std::fprintf(stderr, "baton: warning: %s\n", warning.c_str());
}

// An opened chip with the library behind it. Shared by the device, its buffers and its weights:
// whichever goes last closes.
struct Chip {
  Chip(const baton_device_table* t, baton_device* d)
      : table(t), device(d), name(t->name), watch(name) {}
  ~Chip() { table->close(device); }  // the library stays mapped: its threads may still end

  // Any call into the plugin.
  template <typename Call>
  auto Watched(const char* what, const Call& call) {
    watch.Begin(what);
    const auto result = call();
    watch.End();
    return result;
  }
  absl::Status Failure(absl::string_view what, int code) {
    const char* text = table->last_error(device);
    return absl::InternalError(absl::StrCat("plugin ", name, ": ", what, " failed with status ",
                                            code, ": ", text == nullptr ? "no text" : text));
  }

  const baton_device_table* table;
  baton_device* device;
  const std::string name;
  CallWatch watch;
};

class PluginDevice final : public Device {
 public:
  PluginDevice(std::shared_ptr<Chip> chip, std::function<void(const std::string&)> warn)
      : chip_(std::move(chip)), warn_(std::move(warn)), reference_(MakeCpuReference()) {
    for (const baton_op op : kWeightOps) {
      for (const DType dtype : kWeightDTypes) {
        if (!Supports(op, dtype)) keep_reference_ = true;
      }
    }
  }

  absl::string_view name() const override { return chip_->name; }
  std::string description() const override {
    const char* text = chip_->table->description(chip_->device);
    return absl::StrCat(chip_->name, ": ", text == nullptr ? "" : text, " (plugin)");
  }

 protected:
  absl::StatusOr<Buffer> DoAllocate(size_t bytes) override;
  absl::StatusOr<std::unique_ptr<Weight>> DoPrepare(const StoredTensor& stored) override;
  absl::Status DoCopy(void* to, const void* from, size_t bytes) override;
  absl::Status Outcome() override { return std::exchange(outcome_, absl::OkStatus()); }

  void DoEmbed(const EmbedArgs& args) override;
  void DoRmsNorm(const RmsNormArgs& args) override;
  void DoLinear(const LinearArgs& args) override;
  void DoGatedLinear(const GatedLinearArgs& args) override;
  void DoRope(const RopeArgs& args) override;
  void DoAppendKv(const AppendKvArgs& args) override;
  void DoAttention(const AttentionArgs& args) override;
  void DoGatherRows(const GatherRowsArgs& args) override;
  void DoHeadLinear(const HeadLinearArgs& args) override;
  void DoCopyHeads(const CopyHeadsArgs& args) override;
  void DoExperts(const ExpertsArgs& args) override;

 private:
  bool Supports(baton_op op, DType dtype) {
    return chip_->Watched("supports", [&] {
      return chip_->table->supports(chip_->device, op, static_cast<int32_t>(dtype)) != 0;
    });
  }
  // Whether the chip computes `op` with all of these weights, or on this dtype; otherwise warns
  // once.
  bool OnChip(baton_op op, std::initializer_list<const Weight*> weights);
  bool OnChip(baton_op op, DType dtype);
  void Warn(const std::string& warning) {
    if (warned_.insert(warning).second) warn_(warning);
  }
  // Whether any op takes weights of `dtype`: only then is the chip asked to prepare them.
  bool TakesWeights(DType dtype) {
    return std::any_of(std::begin(kWeightOps), std::end(kWeightOps),
                       [&](baton_op op) { return Supports(op, dtype); });
  }
  // Runs the op on the chip and looks at what it wrote.
  template <typename Args>
  void Run(baton_op op, const Args& args, std::initializer_list<MatrixView> outs);
  absl::Status CheckFinite(baton_op op, const MatrixView& out) const;

  const std::shared_ptr<Chip> chip_;
  const std::function<void(const std::string&)> warn_;
  const std::unique_ptr<Device> reference_;
  bool keep_reference_ = false;  // some op or dtype is missing: weights are prepared for both
  std::set<std::string> warned_;
  absl::Status outcome_;
};

absl::StatusOr<Buffer> PluginDevice::DoAllocate(size_t bytes) {
  void* data =
      chip_->Watched("allocate", [&] { return chip_->table->allocate(chip_->device, bytes); });
  if (data == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("plugin ", chip_->name, ": no memory for ", bytes, " bytes"));
  }
  Buffer buffer(data, bytes, [chip = chip_](void* p, size_t size) {
    chip->Watched("release", [&] { return chip->table->release(chip->device, p, size), 0; });
  });
  if (reinterpret_cast<uintptr_t>(data) % 64 != 0) {
    return absl::InternalError(
        absl::StrCat("plugin ", chip_->name, ": allocate gave memory that is not 64-byte aligned"));
  }
  return buffer;
}

absl::StatusOr<std::unique_ptr<Weight>> PluginDevice::DoPrepare(const StoredTensor& in_file) {
  // A plugin knows the dtypes of its interface; formats that only files have become one of them.
  std::vector<uint8_t> memory;
  const StoredTensor stored = kernels::Repack(in_file, memory);
  std::shared_ptr<baton_weight> handle;
  std::unique_ptr<Weight> reference;
  int64_t bytes = 0;
  if (TakesWeights(stored.dtype)) {
    const baton_stored c = {static_cast<int32_t>(stored.dtype), stored.rows, stored.cols,
                            stored.data};
    baton_weight* prepared = nullptr;
    const int code = chip_->Watched(
        "prepare", [&] { return chip_->table->prepare(chip_->device, &c, &prepared); });
    if (code == BATON_OUT_OF_MEMORY) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "plugin ", chip_->name, ": no memory for a weight of ", stored.rows, " x ", stored.cols));
    }
    if (code != BATON_OK) return chip_->Failure("prepare", code);
    handle.reset(prepared, [chip = chip_](baton_weight* weight) {
      chip->Watched("release_weight",
                    [&] { return chip->table->release_weight(chip->device, weight), 0; });
    });
    bytes = chip_->table->weight_bytes(chip_->device, prepared);
  }
  if (keep_reference_) {
    BATON_ASSIGN_OR_RETURN(reference, reference_->Prepare(stored));
    bytes += reference->packed_bytes();
  }
  return std::make_unique<PluginWeight>(stored, bytes, std::move(handle), std::move(reference));
}

absl::Status PluginDevice::DoCopy(void* to, const void* from, size_t bytes) {
  const int code =
      chip_->Watched("copy", [&] { return chip_->table->copy(chip_->device, to, from, bytes); });
  return code == BATON_OK ? absl::OkStatus() : chip_->Failure("copy", code);
}

bool PluginDevice::OnChip(baton_op op, DType dtype) {
  if (Supports(op, dtype)) return true;
  Warn(absl::StrCat("plugin ", chip_->name, " lacks the op ", kOpNames[op], " for ",
                    DTypeName(dtype), ": the reference computes it, slowly"));
  return false;
}

bool PluginDevice::OnChip(baton_op op, std::initializer_list<const Weight*> weights) {
  for (const Weight* weight : weights) {
    if (!OnChip(op, weight->source_dtype())) return false;
  }
  return true;
}

template <typename Args>
void PluginDevice::Run(baton_op op, const Args& args, std::initializer_list<MatrixView> outs) {
  const auto c = ToC(args);
  const baton_device_table& table = *chip_->table;
  const int code = chip_->Watched(kOpNames[op], [&] {
    const int started = table.run(chip_->device, op, &c.args);
    if (started != BATON_OK || table.synchronize == nullptr) return started;
    return table.synchronize(chip_->device);
  });
  if (code != BATON_OK) {
    outcome_ = chip_->Failure(absl::StrCat("op ", kOpNames[op]), code);
    return;
  }
  for (const MatrixView& out : outs) {
    if (outcome_.ok()) outcome_ = CheckFinite(op, out);
  }
}

absl::Status PluginDevice::CheckFinite(baton_op op, const MatrixView& out) const {
  for (int64_t r = 0; r < out.rows; ++r) {
    float sum = 0;  // 0 * x is NaN for NaN and infinity, else 0
    for (int64_t c = 0; c < out.cols; ++c) sum += out.row(r)[c] * 0.0f;
    if (sum == 0.0f) continue;
    int64_t column = 0;
    while (std::isfinite(out.row(r)[column])) ++column;
    return absl::InternalError(absl::StrCat("plugin ", chip_->name, ": op ", kOpNames[op],
                                            " wrote ", out.row(r)[column], " in row ", r,
                                            ", column ", column));
  }
  return absl::OkStatus();
}

const Weight* OnReference(const Weight* weight) { return OfPlugin(weight).reference(); }

void PluginDevice::DoEmbed(const EmbedArgs& args) {
  if (OnChip(BATON_OP_EMBED, {args.table})) return Run(BATON_OP_EMBED, args, {args.out});
  EmbedArgs copy = args;
  copy.table = OnReference(args.table);
  outcome_ = reference_->Embed(copy);
}

void PluginDevice::DoRmsNorm(const RmsNormArgs& args) {
  if (OnChip(BATON_OP_RMS_NORM, DType::kF32)) return Run(BATON_OP_RMS_NORM, args, {args.out});
  outcome_ = reference_->RmsNorm(args);
}

void PluginDevice::DoLinear(const LinearArgs& args) {
  bool on_chip = true;
  for (const LinearArgs::Part& part : args.parts) {
    on_chip = on_chip && OnChip(BATON_OP_LINEAR, {part.weight});
  }
  if (on_chip) {
    Run(BATON_OP_LINEAR, args, {});
    for (const LinearArgs::Part& part : args.parts) {
      if (outcome_.ok()) outcome_ = CheckFinite(BATON_OP_LINEAR, part.out);
    }
    return;
  }
  std::vector<LinearArgs::Part> parts(args.parts.begin(), args.parts.end());
  for (LinearArgs::Part& part : parts) part.weight = OnReference(part.weight);
  LinearArgs copy = args;
  copy.parts = parts;
  outcome_ = reference_->Linear(copy);
}

void PluginDevice::DoGatedLinear(const GatedLinearArgs& args) {
  if (OnChip(BATON_OP_GATED_LINEAR, {args.gate, args.up})) {
    return Run(BATON_OP_GATED_LINEAR, args, {args.out});
  }
  GatedLinearArgs copy = args;
  copy.gate = OnReference(args.gate);
  copy.up = OnReference(args.up);
  outcome_ = reference_->GatedLinear(copy);
}

void PluginDevice::DoRope(const RopeArgs& args) {
  if (OnChip(BATON_OP_ROPE, DType::kF32)) return Run(BATON_OP_ROPE, args, {args.x});
  outcome_ = reference_->Rope(args);
}

void PluginDevice::DoAppendKv(const AppendKvArgs& args) {
  if (OnChip(BATON_OP_APPEND_KV, args.kv.geometry.dtype)) return Run(BATON_OP_APPEND_KV, args, {});
  outcome_ = reference_->AppendKv(args);
}

void PluginDevice::DoAttention(const AttentionArgs& args) {
  if (OnChip(BATON_OP_ATTENTION, args.kv.geometry.dtype)) {
    return Run(BATON_OP_ATTENTION, args, {args.out});
  }
  outcome_ = reference_->Attention(args);
}

void PluginDevice::DoGatherRows(const GatherRowsArgs& args) {
  if (OnChip(BATON_OP_GATHER_ROWS, DType::kF32)) {
    return Run(BATON_OP_GATHER_ROWS, args, {args.out});
  }
  outcome_ = reference_->GatherRows(args);
}

void PluginDevice::DoHeadLinear(const HeadLinearArgs& args) {
  bool on_chip = true;
  std::vector<const Weight*> weights;
  for (const Weight* weight : args.weights) {
    on_chip = on_chip && OnChip(BATON_OP_HEAD_LINEAR, {weight});
    weights.push_back(OnReference(weight));
  }
  if (on_chip) return Run(BATON_OP_HEAD_LINEAR, args, {args.out});
  HeadLinearArgs copy = args;
  copy.weights = weights;
  outcome_ = reference_->HeadLinear(copy);
}

void PluginDevice::DoCopyHeads(const CopyHeadsArgs& args) {
  if (OnChip(BATON_OP_COPY_HEADS, DType::kF32)) return Run(BATON_OP_COPY_HEADS, args, {args.out});
  outcome_ = reference_->CopyHeads(args);
}

void PluginDevice::DoExperts(const ExpertsArgs& args) {
  bool on_chip = true;
  std::vector<Expert> experts(args.experts.begin(), args.experts.end());
  for (Expert& expert : experts) {
    on_chip = on_chip && OnChip(BATON_OP_EXPERTS, {expert.gate, expert.up, expert.down});
    expert.gate = OnReference(expert.gate);
    expert.up = OnReference(expert.up);
    expert.down = OnReference(expert.down);
  }
  if (on_chip) return Run(BATON_OP_EXPERTS, args, {args.out});
  ExpertsArgs copy = args;
  copy.experts = experts;
  outcome_ = reference_->Experts(copy);
}

// The library's table, or why it cannot be used.
absl::StatusOr<const baton_device_table*> TableOf(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::NotFoundError(absl::StrCat("device plugin: ", dlerror()));
  }
  using Entry = const baton_device_table* (*)(uint32_t);
  const auto entry = reinterpret_cast<Entry>(dlsym(library, "baton_device_plugin"));
  if (entry == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("device plugin ", path, " exports no baton_device_plugin"));
  }
  const baton_device_table* table = entry(BATON_DEVICE_ABI_VERSION);
  if (table == nullptr || table->abi_version != BATON_DEVICE_ABI_VERSION) {
    return absl::FailedPreconditionError(absl::StrCat(
        "device plugin ", path, " speaks ",
        table == nullptr ? "another version" : absl::StrCat("version ", table->abi_version),
        " of the ABI, needs ", BATON_DEVICE_ABI_VERSION));
  }
  const bool complete =
      table->table_bytes >= sizeof(baton_device_table) && table->name != nullptr &&
      table->open != nullptr && table->close != nullptr && table->description != nullptr &&
      table->last_error != nullptr && table->supports != nullptr && table->allocate != nullptr &&
      table->release != nullptr && table->copy != nullptr && table->prepare != nullptr &&
      table->release_weight != nullptr && table->weight_bytes != nullptr && table->run != nullptr;
  if (!complete) {
    return absl::FailedPreconditionError(absl::StrCat(
        "device plugin ", path, ": its table is not complete: all but synchronize are needed"));
  }
  return table;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> LoadPluginDevice(const PluginOptions& options) {
  BATON_ASSIGN_OR_RETURN(const baton_device_table* table, TableOf(options.path));
  CallWatch watch(table->name);
  baton_device* device = nullptr;
  char error[256] = {};
  watch.Begin("open");
  const int code = table->open(options.threads, &device, error, sizeof(error));
  watch.End();
  if (code != BATON_OK || device == nullptr) {
    error[sizeof(error) - 1] = 0;
    return absl::InternalError(
        absl::StrCat("device plugin ", options.path, ": open failed: ", error));
  }
  return std::make_unique<PluginDevice>(std::make_shared<Chip>(table, device),
                                        options.warn ? options.warn : WarnOnStderr);
}

}  // namespace baton::device
