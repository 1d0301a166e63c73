// Runs each hot kernel once at the AVX2 level, with callgrind counting; kernel_counts_test.py reads
// the counts. AVX2, because valgrind knows no AVX-512 and every level is the same code over other
// lanes.
#include <valgrind/callgrind.h>

#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>

#include "device/device_factory.h"
#include "tests/device/kernels/kernel_test_data.h"

namespace baton::device::kernels {
namespace {

void CheckOk(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "kernel_counts: %s\n", status.ToString().c_str());
  std::exit(1);
}

// Counts the second of two calls: the first takes memory. Prints the name and the items of work.
template <typename Op>
void Count(const std::string& name, int64_t items, const Op& op) {
  CheckOk(op());
  CALLGRIND_START_INSTRUMENTATION;
  CALLGRIND_ZERO_STATS;
  const absl::Status status = op();
  CALLGRIND_DUMP_STATS_AT(name.c_str());
  CALLGRIND_STOP_INSTRUMENTATION;
  CheckOk(status);
  std::printf("%s %lld\n", name.c_str(), static_cast<long long>(items));
}

constexpr int64_t kIn = 256, kOut = 128;

// An item: 16 outputs of one row, over 32 inputs.
void CountLinear(Device& device, const std::string& name, DType dtype, int64_t rows, bool gated) {
  const std::vector<uint8_t> bytes = RandomStored(1, dtype, kOut, kIn);
  const auto weight = device.Prepare({dtype, kOut, kIn, bytes.data()}).value();
  const auto other = device.Prepare({dtype, kOut, kIn, bytes.data()}).value();
  std::vector<float> in = RandomFloats(2, rows * kIn), out(rows * kOut);
  const int64_t items = rows * (kOut / 16) * (kIn / 32);
  const LinearArgs::Part part{.weight = weight.get(), .out = {out.data(), rows, kOut, kOut}};
  const ConstMatrixView view{in.data(), rows, kIn, kIn};
  Count(name, gated ? 2 * items : items, [&] {
    if (!gated) return device.Linear({.in = view, .parts = {&part, 1}});
    return device.GatedLinear(
        {.in = view, .gate = weight.get(), .up = other.get(), .out = part.out});
  });
}

// An item: one key of one query head of 64 dimensions.
void CountAttention(Device& device, const std::string& name, DType dtype, int32_t rows) {
  constexpr int32_t kHeads = 3, kDim = 64, kContext = 320, kBlockTokens = 32;
  const KvGeometry geometry{
      .layers = 1, .kv_heads = 1, .head_dim = kDim, .block_tokens = kBlockTokens, .dtype = dtype};
  const int32_t blocks = (kContext + rows) / kBlockTokens + 1;
  const Buffer memory = device.Allocate(blocks * geometry.BlockLayerBytes()).value();
  std::vector<int32_t> table(blocks);
  std::iota(table.begin(), table.end(), 0);
  const SequenceRows sequence{.row_begin = 0,
                              .row_count = rows,
                              .position = kContext,
                              .block_table = table.data(),
                              .block_count = blocks};
  std::vector<float> query = RandomFloats(3, rows * kHeads * kDim), out(query.size());
  const int64_t keys = rows * int64_t{kContext} + rows * (rows + 1) / 2;
  Count(name, kHeads * keys, [&] {
    return device.Attention({.query = {query.data(), rows, kHeads * kDim, kHeads * kDim},
                             .kv = {geometry, static_cast<uint8_t*>(memory.data()), blocks},
                             .sequences = {&sequence, 1},
                             .query_heads = kHeads,
                             .scale = 0.125f,
                             .out = {out.data(), rows, kHeads * kDim, kHeads * kDim}});
  });
}

// An item: 32 values.
void CountRows(const KernelTable& table) {
  const std::vector<float> in = RandomFloats(4, 1024), gain = RandomFloats(5, 1024);
  std::vector<float> out(1024);
  std::vector<uint8_t> tile(1024 / kGroupCols * kGroupRowBytes);
  Count("rms_norm", 32, [&] {
    table.rms_norm(in.data(), gain.data(), 1e-5f, 1024, out.data());
    return absl::OkStatus();
  });
  Count("quantize", 32, [&] {
    table.quantize(in.data(), 1024, 0, 1, tile.data());
    return absl::OkStatus();
  });
}

int Main() {
  const auto d_chip = CreateDevice({.name = "d_chip", .threads = 1, .isa = "avx2"});
  const auto p_chip = CreateDevice({.name = "p_chip", .threads = 1, .isa = "avx2"});
  CheckOk(d_chip.status());
  CheckOk(p_chip.status());
  CountLinear(**d_chip, "linear_q4_1_row", DType::kQ4_1, 1, false);
  CountLinear(**d_chip, "linear_q4_0_row", DType::kQ4_0, 1, false);
  CountLinear(**d_chip, "linear_q8_0_row", DType::kQ8_0, 1, false);
  CountLinear(**d_chip, "gated_q4_1_row", DType::kQ4_1, 1, true);
  CountLinear(**d_chip, "linear_q4_1_batch", DType::kQ4_1, 9, false);
  CountLinear(**p_chip, "linear_q4_1_prompt", DType::kQ4_1, 48, false);
  CountLinear(**p_chip, "linear_f16_prompt", DType::kF16, 48, false);
  CountAttention(**d_chip, "attention_f16_row", DType::kF16, 1);
  CountAttention(**p_chip, "attention_f16_prompt", DType::kF16, 32);
  CountAttention(**p_chip, "attention_bf16_prompt", DType::kBF16, 32);
  CountRows(*ChooseKernels("avx2").value());
  return 0;
}

}  // namespace
}  // namespace baton::device::kernels

int main() { return baton::device::kernels::Main(); }
