#include "device/kernels/run_linear.h"

#include <algorithm>
#include <vector>

#include "device/kernels/packed_weight.h"

namespace baton::device::kernels {
namespace {

// Below this many rows every member norms and quantises all of them for itself: cheaper than a
// barrier.
constexpr int64_t kSharedInputRows = 4;
// From this many rows a member on, members share the rows instead of the outputs: then each reads
// all weights but waits for nobody. More rows than one decode step has.
constexpr int64_t kOwnRowsMin = 96;
// Rows that are multiplied with a panel before the next one is unpacked: their activations stay in
// the second-level cache.
constexpr int64_t kPanelRows = 192;

const PackedView& ViewOf(const Weight* weight) {
  return static_cast<const PackedWeight*>(weight)->view();
}

int64_t RoundUp64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// Input rows as the kernels read them, in memory of one owner: room for one normed row, then normed
// rows and quantised tiles as far as the weights want them.
class Input {
 public:
  Input(const ConstMatrixView& in, const Norm& norm, bool quantised, bool plain)
      : in_(in), norm_(norm), quantised_(quantised), keep_rows_(plain && norm.gain != nullptr) {}

  // Rows [begin, begin + count) of it.
  Input Rows(int64_t begin, int64_t count) const {
    Input part = *this;
    part.in_ = {in_.row(begin), count, in_.cols, in_.stride};
    return part;
  }
  int64_t rows() const { return in_.rows; }

  size_t bytes() const {
    int64_t total = RoundUp64(in_.cols * 4);
    if (keep_rows_) total += RoundUp64(in_.rows * in_.cols * 4);
    if (quantised_) total += in_.rows * (in_.cols / kGroupCols) * kGroupRowBytes;
    return static_cast<size_t>(total);
  }

  // The rows in `memory` (bytes() of them), not yet filled.
  Activations Place(uint8_t* memory) const {
    Activations a{nullptr, in_.data, in_.stride, in_.cols, in_.rows};
    memory += RoundUp64(in_.cols * 4);
    if (keep_rows_) {
      a.x = reinterpret_cast<float*>(memory);
      a.x_stride = in_.cols;
      memory += RoundUp64(in_.rows * in_.cols * 4);
    }
    a.tiles = memory;
    return a;
  }

  // Computes the rows [begin, end); whole tiles, or up to the last row. `row_memory` holds one row.
  void Fill(const KernelTable& table, const Activations& a, int64_t begin, int64_t end,
            float* row_memory) const {
    const int64_t row_bytes = in_.cols / kGroupCols * kGroupRowBytes;
    for (int64_t r = begin; r < end; ++r) {
      const float* x = in_.row(r);
      if (norm_.gain != nullptr) {
        float* normed = keep_rows_ ? const_cast<float*>(a.x) + r * a.x_stride : row_memory;
        table.rms_norm(x, norm_.gain, norm_.epsilon, in_.cols, normed);
        x = normed;
      }
      if (quantised_) {
        const int64_t tile = r / table.tile_rows * table.tile_rows;
        const int64_t tile_rows = std::min<int64_t>(table.tile_rows, in_.rows - tile);
        table.quantize(x, in_.cols, static_cast<int32_t>(r - tile), static_cast<int32_t>(tile_rows),
                       const_cast<uint8_t*>(a.tiles) + tile * row_bytes);
      }
    }
  }

 private:
  ConstMatrixView in_;
  Norm norm_;
  bool quantised_;
  bool keep_rows_;
};

// What one member computes: some rows of all strips, or all rows of some strips.
struct Share {
  int64_t row_begin, row_end;
  int64_t strip_begin, strip_end;
  bool shared_input;  // members fill the input together and wait for each other
};

Share ShareOf(int64_t rows, int64_t strips, int member, const CpuContext& cpu) {
  const int64_t members = cpu.team.size();
  if (rows >= kOwnRowsMin * members) {
    return {rows * member / members, rows * (member + 1) / members, 0, strips, false};
  }
  // Pairs of strips, so that a tile of two is not cut.
  const auto split = [&](int64_t m) {
    return m == members ? strips : strips / 2 * m / members * 2;
  };
  return {0, rows, split(member), split(member + 1), members > 1 && rows >= kSharedInputRows};
}

// The whole input, computed by the team together in `shared`.
Activations ShareInput(const Input& input, int member, uint8_t* shared, CpuContext& cpu) {
  const Activations a = input.Place(shared);
  const int64_t members = cpu.team.size(), tile = cpu.table.tile_rows;
  const int64_t tiles = (input.rows() + tile - 1) / tile;
  const int64_t begin = tiles * member / members * tile;
  const int64_t end = std::min(tiles * (member + 1) / members * tile, input.rows());
  uint8_t* row_memory = cpu.scratch[member].Get(static_cast<size_t>(a.cols) * sizeof(float));
  input.Fill(cpu.table, a, begin, end, reinterpret_cast<float*>(row_memory));
  cpu.team.Barrier();
  return a;
}

// Calls f(activations, first row) for pieces of a member's rows.
template <typename F>
void ForPieces(const Input& input, const Share& share, int member, uint8_t* shared, CpuContext& cpu,
               const F& f) {
  if (share.shared_input) {
    f(ShareInput(input, member, shared, cpu), 0);
    return;
  }
  const int64_t rows = share.row_end - share.row_begin;
  const int64_t pieces = (rows + kPanelRows - 1) / kPanelRows;
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t begin = share.row_begin + rows * i / pieces;
    const int64_t end = share.row_begin + rows * (i + 1) / pieces;
    const Input piece = input.Rows(begin, end - begin);
    uint8_t* own = cpu.scratch[member].Get(piece.bytes());
    const Activations a = piece.Place(own);
    piece.Fill(cpu.table, a, 0, end - begin, reinterpret_cast<float*>(own));
    f(a, begin);
  }
}

// Memory of two unpacked strips.
uint8_t* PanelMemory(bool wanted, int64_t cols, int member, CpuContext& cpu) {
  if (!wanted) return nullptr;
  return cpu.panels[member].Get(static_cast<size_t>(2 * (cols / kGroupCols) * 512));
}

Output OutputOf(const MatrixView& m, const float* bias, bool accumulate, int64_t row) {
  return {m.row(row), m.stride, m.cols, bias, accumulate};
}

// Gate and up in different forms do not fit one tile: up goes to memory first.
void RunMixedGated(const GatedLinearArgs& args, const Share& share, const Activations& a,
                   int64_t row, bool panels, uint8_t* panel, const KernelTable& table) {
  const PackedView& gate = ViewOf(args.gate);
  const int64_t column = share.strip_begin * kStripRows;
  const int64_t width = std::min(share.strip_end * kStripRows, gate.rows) - column;
  std::vector<float> ups(static_cast<size_t>(a.rows * width));
  const MatrixView up_part{ups.data() - column, a.rows, gate.rows, width};
  table.linear(gate, share.strip_begin, share.strip_end, a, OutputOf(args.out, nullptr, false, row),
               panels, panel);
  table.linear(ViewOf(args.up), share.strip_begin, share.strip_end, a,
               OutputOf(up_part, nullptr, false, 0), panels, panel);
  for (int64_t r = 0; r < a.rows; ++r) {
    float* out = args.out.row(row + r) + column;
    table.silu_times(out, ups.data() + r * width, width, out);
  }
}

}  // namespace

void RunLinear(const LinearArgs& args, int64_t panel_rows_min, CpuContext& cpu) {
  bool quantised = false, plain = false;
  int64_t strips = 0;
  for (const LinearArgs::Part& part : args.parts) {
    const PackedView& view = ViewOf(part.weight);
    (IsQuantised(view.form) ? quantised : plain) = true;
    strips += view.strips;
  }
  const Input input(args.in, args.norm, quantised, plain);
  uint8_t* shared = cpu.team.size() > 1 ? cpu.shared.Get(input.bytes()) : nullptr;
  const bool panels = quantised && args.in.rows >= panel_rows_min;
  cpu.team.Run([&](int member) {
    uint8_t* panel = PanelMemory(panels, args.in.cols, member, cpu);
    const Share share = ShareOf(args.in.rows, strips, member, cpu);
    ForPieces(input, share, member, shared, cpu, [&](const Activations& a, int64_t row) {
      int64_t first = 0;  // strip number of the part's first strip
      for (const LinearArgs::Part& part : args.parts) {
        const PackedView& view = ViewOf(part.weight);
        const int64_t from = std::max<int64_t>(share.strip_begin - first, 0);
        const int64_t to = std::min(share.strip_end - first, view.strips);
        if (from < to) {
          cpu.table.linear(view, from, to, a, OutputOf(part.out, part.bias, part.accumulate, row),
                           panels, panel);
        }
        first += view.strips;
      }
    });
  });
}

void RunGatedLinear(const GatedLinearArgs& args, int64_t panel_rows_min, CpuContext& cpu) {
  const PackedView& gate = ViewOf(args.gate);
  const PackedView& up = ViewOf(args.up);
  const bool quantised = IsQuantised(gate.form) || IsQuantised(up.form);
  const bool plain = !IsQuantised(gate.form) || !IsQuantised(up.form);
  const Input input(args.in, args.norm, quantised, plain);
  uint8_t* shared = cpu.team.size() > 1 ? cpu.shared.Get(input.bytes()) : nullptr;
  const bool panels = quantised && args.in.rows >= panel_rows_min;
  cpu.team.Run([&](int member) {
    uint8_t* panel = PanelMemory(panels, args.in.cols, member, cpu);
    const Share share = ShareOf(args.in.rows, gate.strips, member, cpu);
    ForPieces(input, share, member, shared, cpu, [&](const Activations& a, int64_t row) {
      if (share.strip_begin == share.strip_end) return;
      if (gate.form == up.form) {
        cpu.table.gated(gate, up, share.strip_begin, share.strip_end, a,
                        OutputOf(args.out, nullptr, false, row), panels, panel);
      } else {
        RunMixedGated(args, share, a, row, panels, panel, cpu.table);
      }
    });
  });
}

}  // namespace baton::device::kernels
