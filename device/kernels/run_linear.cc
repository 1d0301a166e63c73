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
// the second-level cache.
constexpr int64_t kPanelRows = 192;

const PackedView& ViewOf(const Weight* weight) {
  return static_cast<const PackedWeight*>(weight)->view();
}

int64_t RoundUp64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// Input rows as the kernels read them, in memory of one owner.
class Input {
 public:
  Input(const ConstMatrixView& in, const Norm& norm, bool quantised, bool plain)
      : in_(in), norm_(norm), quantised_(quantised), keep_rows_(plain && norm.gain != nullptr) {}

  size_t bytes() const {
    const int64_t groups = in_.cols / kGroupCols;
    int64_t total = RoundUp64(in_.cols * 4);  // one normed row
    if (keep_rows_) total += RoundUp64(in_.rows * in_.cols * 4);
    if (quantised_) total += RoundUp64(in_.rows * in_.cols) + 2 * RoundUp64(in_.rows * groups * 4);
    return static_cast<size_t>(total);
  }

  // Places the parts in `memory` (bytes() of them).
  Activations Place(uint8_t* memory) const {
    const int64_t groups = in_.cols / kGroupCols;
    Activations a{};
    a.cols = in_.cols;
    a.rows = in_.rows;
    a.x = in_.data;
    a.x_stride = in_.stride;
    memory += RoundUp64(in_.cols * 4);
    if (keep_rows_) {
      a.x = reinterpret_cast<float*>(memory);
      a.x_stride = in_.cols;
      memory += RoundUp64(in_.rows * in_.cols * 4);
    }
    if (quantised_) {
      a.q = reinterpret_cast<int8_t*>(memory);
      memory += RoundUp64(in_.rows * in_.cols);
      a.scale = reinterpret_cast<float*>(memory);
      memory += RoundUp64(in_.rows * groups * 4);
      a.sum = reinterpret_cast<int32_t*>(memory);
    }
    return a;
  }

  // Computes rows [begin, end). `row_memory` holds one row of floats.
  void Fill(const KernelTable& table, const Activations& a, int64_t begin, int64_t end,
            float* row_memory) const {
    const int64_t groups = in_.cols / kGroupCols;
    for (int64_t r = begin; r < end; ++r) {
      const float* x = in_.row(r);
      if (norm_.gain != nullptr) {
        float* normed = keep_rows_ ? const_cast<float*>(a.x) + r * a.x_stride : row_memory;
        table.rms_norm(x, norm_.gain, norm_.epsilon, in_.cols, normed);
        x = normed;
      }
      if (quantised_) {
        table.quantize(x, in_.cols, const_cast<int8_t*>(a.q) + r * in_.cols,
                       const_cast<float*>(a.scale) + r * groups,
                       const_cast<int32_t*>(a.sum) + r * groups);
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
Activations PrepareInput(const Input& input, int64_t rows, int member, uint8_t* shared,
                         CpuContext& cpu) {
  if (rows < kSharedInputRows || cpu.team.size() == 1) {
    uint8_t* own = member == 0 ? shared : cpu.scratch[member].Get(input.bytes());
    const Activations a = input.Place(own);
    input.Fill(cpu.table, a, 0, rows, reinterpret_cast<float*>(own));
    return a;
  }
  const Activations a = input.Place(shared);
  std::vector<float> row_memory(static_cast<size_t>(a.cols) + 16);
  input.Fill(cpu.table, a, rows * member / cpu.team.size(), rows * (member + 1) / cpu.team.size(),
             row_memory.data());
  cpu.team.Barrier();
  return a;
}

// The same rows, some of them.
Activations Rows(const Activations& a, int64_t begin, int64_t count) {
  const int64_t groups = a.cols / kGroupCols;
  Activations part = a;
  part.x += begin * a.x_stride;
  if (a.q != nullptr) {
    part.q += begin * a.cols;
    part.scale += begin * groups;
    part.sum += begin * groups;
  }
  part.rows = count;
  return part;
}

// Calls f(rows, first_row) for all rows at once, or for pieces of kPanelRows where panels are
// unpacked.
template <typename F>
void ForRowPieces(const Activations& a, bool panels, const F& f) {
  const int64_t piece = panels ? kPanelRows : a.rows;
  for (int64_t row = 0; row < a.rows; row += piece) {
    f(Rows(a, row, std::min(piece, a.rows - row)), row);
  }
}

// Two unpacked strips: panel, d and m each.
size_t PanelBytes(int64_t cols) {
  return static_cast<size_t>(2 * (cols / kGroupCols) * (512 + 128));
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
    const Activations a = PrepareInput(input, args.in.rows, member, shared, cpu);
    std::vector<uint8_t> panel(panels && quantised ? PanelBytes(a.cols) + 64 : 0);
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
                           OutputOf(part.out, part.bias, part.accumulate, row), panels,
                           panel.data());
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
    const Activations a = PrepareInput(input, args.in.rows, member, shared, cpu);
    std::vector<uint8_t> panel(panels && quantised ? PanelBytes(a.cols) + 64 : 0);
    const int64_t begin = SplitPoint(gate.strips, member, cpu.team.size());
    const int64_t end = SplitPoint(gate.strips, member + 1, cpu.team.size());
    if (begin == end) return;
    if (gate.form == up.form) {
      ForRowPieces(a, panels, [&](const Activations& rows, int64_t row) {
        cpu.table.gated(gate, up, begin, end, rows, OutputOf(args.out, nullptr, false, row), panels,
                        panel.data());
      });
      return;
    }
    // Different forms do not fit one tile: up goes to memory first.
    const int64_t column = begin * kStripRows;
    const int64_t width = std::min(end * kStripRows, gate.rows) - column;
    std::vector<float> ups(static_cast<size_t>(a.rows * width));
    const MatrixView up_part{ups.data() - column, a.rows, gate.rows, width};
    cpu.table.linear(gate, begin, end, a, OutputOf(args.out, nullptr, false, 0), panels,
                     panel.data());
    cpu.table.linear(up, begin, end, a, OutputOf(up_part, nullptr, false, 0), panels, panel.data());
    for (int64_t r = 0; r < a.rows; ++r) {
      float* out = args.out.row(r) + column;
      cpu.table.silu_times(out, ups.data() + r * width, width, out);
    }
  });
}

}  // namespace baton::device::kernels
