#include "device/kernels/run_head_linear.h"

#include <algorithm>
#include <atomic>

#include "device/kernels/packed_weight.h"

namespace baton::device::kernels {
namespace {

// Pieces of work a member, so that one that comes late finds less to do.
constexpr int64_t kPiecesAMember = 4;

// The inputs of one head as the weight's form reads them; int8 ones are written to `scratch`.
Activations InputOf(const HeadLinearArgs& args, int64_t head, const PackedView& weight,
                    const KernelTable& table, Scratch& scratch) {
  const float* x = args.in.data + head * args.in_step;
  Activations a{nullptr, x, args.in.stride, weight.cols, args.in.rows};
  if (!IsQuantised(weight.form)) return a;
  const int64_t row_bytes = weight.cols / kGroupCols * kGroupRowBytes;
  uint8_t* tiles = scratch.Get(static_cast<size_t>(a.rows * row_bytes));
  for (int64_t r = 0; r < a.rows; ++r) {
    const int64_t tile = r / table.tile_rows * table.tile_rows;
    const int64_t tile_rows = std::min<int64_t>(table.tile_rows, a.rows - tile);
    table.quantize(x + r * a.x_stride, a.cols, static_cast<int32_t>(r - tile),
                   static_cast<int32_t>(tile_rows), tiles + tile * row_bytes);
  }
  a.tiles = tiles;
  return a;
}

}  // namespace

void RunHeadLinear(const HeadLinearArgs& args, CpuContext& cpu) {
  const int64_t heads = static_cast<int64_t>(args.weights.size());
  const int64_t strips = static_cast<const PackedWeight*>(args.weights[0])->view().strips;
  const int64_t wanted = cpu.team.size() == 1 ? 1 : kPiecesAMember * cpu.team.size();
  const int64_t pieces = std::clamp<int64_t>(wanted / heads, 1, strips);
  std::atomic<int64_t> next{0};
  cpu.team.Share([&](int member) {
    for (int64_t i = next.fetch_add(1); i < heads * pieces; i = next.fetch_add(1)) {
      const int64_t head = i / pieces, piece = i % pieces;
      const PackedView& weight = static_cast<const PackedWeight*>(args.weights[head])->view();
      const Activations a = InputOf(args, head, weight, cpu.table, cpu.scratch[member]);
      const Output out{args.out.data + head * args.out_step, args.out.stride, weight.rows, nullptr,
                       false};
      cpu.table.linear(weight, strips * piece / pieces, strips * (piece + 1) / pieces, a, out,
                       /*panels=*/false, nullptr);
    }
  });
}

}  // namespace baton::device::kernels
