#include "device/kernels/run_linear.h"

#include <algorithm>
#include <vector>

#include "device/kernels/packed_weight.h"

namespace baton::device::kernels {
namespace {

// Below this many rows every member norms and quantises all of them for itself: cheaper than a
// barrier.
constexpr int64_t kSharedInputRows = 4;
// Rows that are multiplied with a panel before the next one is unpacked: their activations stay in
// the second-level cache. A multiple of every tile_rows.
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

// Makes the input ready for one member: computed by it alone for few rows, shared by the team
// otherwise.
Activations PrepareInput(const Input& input, int member, uint8_t* shared, CpuContext& cpu) {
  const int64_t members = cpu.team.size();
  if (input.rows() < kSharedInputRows || members == 1) {
    uint8_t* own = member == 0 ? shared : cpu.scratch[member].Get(input.bytes());
    const Activations a = input.Place(own);
    input.Fill(cpu.table, a, 0, input.rows(), reinterpret_cast<float*>(own));
    return a;
  }
  const Activations a = input.Place(shared);
  const int64_t tile = cpu.table.tile_rows;
  const int64_t tiles = (input.rows() + tile - 1) / tile;
  const int64_t begin = tiles * member / members * tile;
  const int64_t end = std::min(tiles * (member + 1) / members * tile, input.rows());
  uint8_t* row_memory = cpu.scratch[member].Get(static_cast<size_t>(a.cols) * sizeof(float));
  input.Fill(cpu.table, a, begin, end, reinterpret_cast<float*>(row_memory));
  cpu.team.Barrier();
  return a;
}

// Calls f(rows, first_row) for all rows at once, or for pieces of kPanelRows where panels are
// unpacked.
template <typename F>
void ForRowPieces(const Activations& a, bool panels, const F& f) {
  const int64_t piece = panels ? kPanelRows : a.rows;
  for (int64_t row = 0; row < a.rows; row += piece) {
    Activations part = a;
    part.x += row * a.x_stride;
    part.tiles += row * (a.cols / kGroupCols) * kGroupRowBytes;
    part.rows = std::min(piece, a.rows - row);
    f(part, row);
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

// Splits `total` strips over the team in pairs, so that a tile of two strips is not cut.
int64_t SplitPoint(int64_t total, int member, int members) {
  if (member == members) return total;
  return total / 2 * member / members * 2;
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
  uint8_t* shared = cpu.shared.Get(input.bytes());
  const bool panels = args.in.rows >= panel_rows_min;
  cpu.team.Run([&](int member) {
    const Activations a = PrepareInput(input, member, shared, cpu);
    uint8_t* panel = PanelMemory(panels && quantised, a.cols, member, cpu);
    const int64_t begin = SplitPoint(strips, member, cpu.team.size());
    const int64_t end = SplitPoint(strips, member + 1, cpu.team.size());
    ForRowPieces(a, panels, [&](const Activations& rows, int64_t row) {
      int64_t first = 0;  // strip number of the part's first strip
      for (const LinearArgs::Part& part : args.parts) {
        const PackedView& view = ViewOf(part.weight);
        const int64_t from = std::max<int64_t>(begin - first, 0);
        const int64_t to = std::min(end - first, view.strips);
        if (from < to) {
          cpu.table.linear(view, from, to, rows,
                           OutputOf(part.out, part.bias, part.accumulate, row), panels, panel);
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
  uint8_t* shared = cpu.shared.Get(input.bytes());
  const bool panels = args.in.rows >= panel_rows_min;
  cpu.team.Run([&](int member) {
    const Activations a = PrepareInput(input, member, shared, cpu);
    uint8_t* panel = PanelMemory(panels && quantised, a.cols, member, cpu);
    const int64_t begin = SplitPoint(gate.strips, member, cpu.team.size());
    const int64_t end = SplitPoint(gate.strips, member + 1, cpu.team.size());
    if (begin == end) return;
    if (gate.form == up.form) {
      ForRowPieces(a, panels, [&](const Activations& rows, int64_t row) {
        cpu.table.gated(gate, up, begin, end, rows, OutputOf(args.out, nullptr, false, row), panels,
                        panel);
      });
      return;
    }
    // Different forms do not fit one tile: up goes to memory first.
    const int64_t column = begin * kStripRows;
    const int64_t width = std::min(end * kStripRows, gate.rows) - column;
    std::vector<float> ups(static_cast<size_t>(a.rows * width));
    const MatrixView up_part{ups.data() - column, a.rows, gate.rows, width};
    cpu.table.linear(gate, begin, end, a, OutputOf(args.out, nullptr, false, 0), panels, panel);
    cpu.table.linear(up, begin, end, a, OutputOf(up_part, nullptr, false, 0), panels, panel);
    for (int64_t r = 0; r < a.rows; ++r) {
      float* out = args.out.row(r) + column;
      cpu.table.silu_times(out, ups.data() + r * width, width, out);
    }
  });
}

}  // namespace baton::device::kernels
