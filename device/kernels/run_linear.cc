#include "device/kernels/run_linear.h"

#include <algorithm>
#include <atomic>
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
// Outputs are handed out in so many pieces a member where rows are few: a member that comes late
// finds less to do.
constexpr int64_t kPiecesAMember = 4;

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

// The whole input, computed by one member for itself.
Activations OwnInput(const Input& input, int member, CpuContext& cpu) {
  uint8_t* own = cpu.scratch[member].Get(input.bytes());
  const Activations a = input.Place(own);
  input.Fill(cpu.table, a, 0, input.rows(), reinterpret_cast<float*>(own));
  return a;
}

// Splits `total` strips into pieces in pairs, so that a tile of two strips is not cut.
int64_t SplitPoint(int64_t total, int64_t piece, int64_t pieces) {
  return piece == pieces ? total : total / 2 * piece / pieces * 2;
}

// Calls f(member, activations, first row, first strip, last strip + 1) for pieces that cover all
// rows of the input and `strips` strips of weights.
template <typename F>
void ForPieces(const Input& input, int64_t strips, CpuContext& cpu, const F& f) {
  const int64_t rows = input.rows(), members = cpu.team.size();
  std::atomic<int64_t> next{0};
  if (rows >= kOwnRowsMin * members) {
    const int64_t least = (rows + kPanelRows - 1) / kPanelRows;
    const int64_t pieces = (least + members - 1) / members * members;
    cpu.team.Share([&](int member) {
      for (int64_t i = next.fetch_add(1); i < pieces; i = next.fetch_add(1)) {
        const int64_t begin = rows * i / pieces, end = rows * (i + 1) / pieces;
        f(member, OwnInput(input.Rows(begin, end - begin), member, cpu), begin, 0, strips);
      }
    });
  } else if (rows < kSharedInputRows || members == 1) {
    const int64_t pieces = members == 1 ? 1 : std::min(kPiecesAMember * members, (strips + 1) / 2);
    cpu.team.Share([&](int member) {
      int64_t i = next.fetch_add(1);
      if (i >= pieces) return;
      const Activations a = OwnInput(input, member, cpu);
      for (; i < pieces; i = next.fetch_add(1)) {
        f(member, a, 0, SplitPoint(strips, i, pieces), SplitPoint(strips, i + 1, pieces));
      }
    });
  } else {
    uint8_t* shared = cpu.shared.Get(input.bytes());
    cpu.team.Run([&](int member) {
      const Activations a = ShareInput(input, member, shared, cpu);
      f(member, a, 0, SplitPoint(strips, member, members), SplitPoint(strips, member + 1, members));
    });
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

Gate GateOf(const GatedLinearArgs& args) {
  return args.activation == Activation::kSilu ? Gate::kSilu : Gate::kGeluTanh;
}

// Gate and up in different forms do not fit one tile: up goes to memory first.
void RunMixedGated(const GatedLinearArgs& args, int64_t begin, int64_t end, const Activations& a,
                   int64_t row, bool panels, uint8_t* panel, const KernelTable& table) {
  const PackedView& gate = ViewOf(args.gate);
  const int64_t column = begin * kStripRows;
  const int64_t width = std::min(end * kStripRows, gate.rows) - column;
  std::vector<float> ups(static_cast<size_t>(a.rows * width));
  const MatrixView up_part{ups.data() - column, a.rows, gate.rows, width};
  table.linear(gate, begin, end, a, OutputOf(args.out, nullptr, false, row), panels, panel);
  table.linear(ViewOf(args.up), begin, end, a, OutputOf(up_part, nullptr, false, 0), panels, panel);
  const auto times = GateOf(args) == Gate::kSilu ? table.silu_times : table.gelu_times;
  for (int64_t r = 0; r < a.rows; ++r) {
    float* out = args.out.row(row + r) + column;
    times(out, ups.data() + r * width, width, out);
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
  const bool panels = quantised && args.in.rows >= panel_rows_min;
  ForPieces(Input(args.in, args.norm, quantised, plain), strips, cpu,
            [&](int member, const Activations& a, int64_t row, int64_t begin, int64_t end) {
              uint8_t* panel = PanelMemory(panels, a.cols, member, cpu);
              int64_t first = 0;  // strip number of the part's first strip
              for (const LinearArgs::Part& part : args.parts) {
                const PackedView& view = ViewOf(part.weight);
                const int64_t from = std::max<int64_t>(begin - first, 0);
                const int64_t to = std::min(end - first, view.strips);
                if (from < to) {
                  cpu.table.linear(view, from, to, a,
                                   OutputOf(part.out, part.bias, part.accumulate, row), panels,
                                   panel);
                }
                first += view.strips;
              }
            });
}

void RunGatedLinear(const GatedLinearArgs& args, int64_t panel_rows_min, CpuContext& cpu) {
  const PackedView& gate = ViewOf(args.gate);
  const PackedView& up = ViewOf(args.up);
  const bool quantised = IsQuantised(gate.form) || IsQuantised(up.form);
  const bool plain = !IsQuantised(gate.form) || !IsQuantised(up.form);
  const bool panels = quantised && args.in.rows >= panel_rows_min;
  ForPieces(Input(args.in, args.norm, quantised, plain), gate.strips, cpu,
            [&](int member, const Activations& a, int64_t row, int64_t begin, int64_t end) {
              if (begin == end) return;
              uint8_t* panel = PanelMemory(panels, a.cols, member, cpu);
              if (gate.form == up.form) {
                Output out = OutputOf(args.out, nullptr, false, row);
                out.gate = GateOf(args);
                cpu.table.gated(gate, up, begin, end, a, out, panels, panel);
              } else {
                RunMixedGated(args, begin, end, a, row, panels, panel, cpu.table);
              }
            });
}

}  // namespace baton::device::kernels
