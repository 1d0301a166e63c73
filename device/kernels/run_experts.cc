#include "device/kernels/run_experts.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "device/kernels/packed_weight.h"

namespace baton::device::kernels {
namespace {

// Rows that are computed together: bounds the memory of their pairs.
constexpr int64_t kSlabRows = 1024;
// Pieces of work a member, so that one that comes late finds less to do.
constexpr int64_t kPiecesAMember = 4;

const PackedView& ViewOf(const Weight* weight) {
  return static_cast<const PackedWeight*>(weight)->view();
}

int64_t RoundUp64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// The pairs of one expert: `count` consecutive ones from `begin`.
struct Group {
  const Expert* expert;
  int64_t begin;
  int64_t count;
};

// The (row, expert) pairs of a slab of rows, ordered by expert and then by row.
struct Pairs {
  std::vector<Group> groups;    // of experts that have rows
  std::vector<int64_t> row_of;  // [pairs]
  std::vector<int64_t> place;   // [rows * experts_per_row]: which pair a row's choice became
};

Pairs PairsOf(const ExpertsArgs& args, int64_t first_row, int64_t rows) {
  const int64_t per_row = args.experts_per_row;
  const int32_t* chosen = args.chosen.data() + first_row * per_row;
  std::vector<int64_t> next(args.experts.size() + 1, 0);
  for (int64_t i = 0; i < rows * per_row; ++i) ++next[chosen[i] + 1];
  Pairs pairs;
  for (size_t e = 0; e < args.experts.size(); ++e) {
    if (next[e + 1] > 0) pairs.groups.push_back({&args.experts[e], next[e], next[e + 1]});
    next[e + 1] += next[e];
  }
  pairs.row_of.resize(rows * per_row);
  pairs.place.resize(rows * per_row);
  for (int64_t i = 0; i < rows * per_row; ++i) {
    pairs.place[i] = next[chosen[i]]++;
    pairs.row_of[pairs.place[i]] = first_row + i / per_row;
  }
  return pairs;
}

// A matrix of all pairs as the experts' weights read it: floats, int8 tiles or both.
struct PairMatrix {
  float* x = nullptr;        // [pairs, cols]
  uint8_t* tiles = nullptr;  // each group's rows in tiles of their own
  int64_t cols = 0;

  int64_t row_bytes() const { return cols / kGroupCols * kGroupRowBytes; }
  Activations Of(const Group& group) const {
    return {tiles == nullptr ? nullptr : tiles + group.begin * row_bytes(),
            x == nullptr ? nullptr : x + group.begin * cols, cols, cols, group.count};
  }
  // Quantises pair `pair` of `group` from `values`.
  void Quantize(const KernelTable& table, const Group& group, int64_t pair,
                const float* values) const {
    const int64_t r = pair - group.begin, tile = r / table.tile_rows * table.tile_rows;
    const int64_t tile_rows = std::min<int64_t>(table.tile_rows, group.count - tile);
    table.quantize(values, cols, static_cast<int32_t>(r - tile), static_cast<int32_t>(tile_rows),
                   tiles + (group.begin + tile) * row_bytes());
  }
};

// Which inputs the weights of all experts want.
struct Wanted {
  bool floats = false;
  bool int8 = false;
  void Add(const Weight* weight) { (IsQuantised(ViewOf(weight).form) ? int8 : floats) = true; }
};

// One slab of rows; the members of the team call the phases in order, with a barrier in between.
class Slab {
 public:
  Slab(const ExpertsArgs& args, int64_t first_row, int64_t rows, int64_t panel_rows_min,
       CpuContext& cpu)
      : args_(args),
        first_row_(first_row),
        rows_(rows),
        panel_rows_min_(panel_rows_min),
        cpu_(cpu),
        pairs_(PairsOf(args, first_row, rows)) {
    Wanted wanted_in;
    for (const Expert& expert : args.experts) {
      wanted_in.Add(expert.gate);
      wanted_in.Add(expert.up);
      wanted_down_.Add(expert.down);
    }
    in_.cols = args.in.cols;
    gated_.cols = args.experts[0].down->cols();
    Place(wanted_in);
  }

  void Run() {
    cpu_.team.Run([&](int member) {
      FillInput(member);
      cpu_.team.Barrier();
      ForPieces(next_[1], ViewOf(args_.experts[0].gate).strips,
                [&](const Group& group, int64_t begin, int64_t end) {
                  GateUp(group, begin, end, member);
                });
      cpu_.team.Barrier();
      if (wanted_down_.int8) {
        QuantizeGated();
        cpu_.team.Barrier();
      }
      ForPieces(next_[3], ViewOf(args_.experts[0].down).strips,
                [&](const Group& group, int64_t begin, int64_t end) {
                  Multiply(group.expert->down, group.expert->down_bias, group, gated_, begin, end,
                           down_, member);
                });
      cpu_.team.Barrier();
      AddUp();
    });
  }

 private:
  int64_t pairs() const { return static_cast<int64_t>(pairs_.row_of.size()); }

  // Lays the slab's matrices out in the shared scratch.
  void Place(const Wanted& wanted_in) {
    int64_t bytes = 0;
    const auto take = [&](int64_t size) {
      const int64_t at = bytes;
      bytes += RoundUp64(size);
      return at;
    };
    const int64_t x = take(wanted_in.floats ? pairs() * in_.cols * 4 : 0);
    const int64_t tiles = take(wanted_in.int8 ? pairs() * in_.row_bytes() : 0);
    const int64_t gated = take(pairs() * gated_.cols * 4);
    const int64_t up = take(pairs() * gated_.cols * 4);
    const int64_t gated_tiles = take(wanted_down_.int8 ? pairs() * gated_.row_bytes() : 0);
    const int64_t down = take(pairs() * args_.out.cols * 4);
    uint8_t* memory = cpu_.shared.Get(static_cast<size_t>(bytes));
    if (wanted_in.floats) in_.x = reinterpret_cast<float*>(memory + x);
    if (wanted_in.int8) in_.tiles = memory + tiles;
    gated_.x = reinterpret_cast<float*>(memory + gated);
    up_ = reinterpret_cast<float*>(memory + up);
    if (wanted_down_.int8) gated_.tiles = memory + gated_tiles;
    down_ = reinterpret_cast<float*>(memory + down);
  }

  // Calls f(group, pair) for every pair, in pieces that members take from `next`.
  template <typename F>
  void ForPairs(std::atomic<int64_t>& next, const F& f) {
    constexpr int64_t kPiece = 8;
    for (int64_t at = next.fetch_add(kPiece); at < pairs(); at = next.fetch_add(kPiece)) {
      auto group = std::prev(std::upper_bound(
          pairs_.groups.begin(), pairs_.groups.end(), at,
          [](int64_t pair, const Group& candidate) { return pair < candidate.begin; }));
      for (int64_t pair = at; pair < std::min(at + kPiece, pairs()); ++pair) {
        if (pair >= group->begin + group->count) ++group;
        f(*group, pair);
      }
    }
  }

  // Calls f(group, first strip, last strip + 1) for pieces that cover `strips` of every group.
  template <typename F>
  void ForPieces(std::atomic<int64_t>& next, int64_t strips, const F& f) {
    const int64_t groups = static_cast<int64_t>(pairs_.groups.size());
    const int64_t members = cpu_.team.size();
    const int64_t wanted = members == 1 ? 1 : (kPiecesAMember * members + groups - 1) / groups;
    const int64_t pieces = std::clamp<int64_t>(wanted, 1, (strips + 1) / 2);
    for (int64_t i = next.fetch_add(1); i < groups * pieces; i = next.fetch_add(1)) {
      const int64_t piece = i % pieces;
      const auto cut = [&](int64_t p) {
        return p == pieces ? strips : strips / 2 * p / pieces * 2;
      };
      if (cut(piece) < cut(piece + 1)) f(pairs_.groups[i / pieces], cut(piece), cut(piece + 1));
    }
  }

  void FillInput(int member) {
    const size_t row_bytes = static_cast<size_t>(in_.cols) * sizeof(float);
    float* own = reinterpret_cast<float*>(cpu_.scratch[member].Get(row_bytes));
    ForPairs(next_[0], [&](const Group& group, int64_t pair) {
      const float* values = args_.in.row(pairs_.row_of[pair]);
      float* kept = in_.x == nullptr ? nullptr : in_.x + pair * in_.cols;
      if (args_.norm.gain != nullptr) {
        float* normed = kept == nullptr ? own : kept;
        cpu_.table.rms_norm(values, args_.norm.gain, args_.norm.epsilon, in_.cols, normed);
        values = normed;
      } else if (kept != nullptr) {
        std::memcpy(kept, values, row_bytes);
      }
      if (in_.tiles != nullptr) in_.Quantize(cpu_.table, group, pair, values);
    });
  }

  void QuantizeGated() {
    ForPairs(next_[2], [&](const Group& group, int64_t pair) {
      gated_.Quantize(cpu_.table, group, pair, gated_.x + pair * gated_.cols);
    });
  }

  bool Panels(const PackedView& weight, const Group& group) const {
    return IsQuantised(weight.form) && group.count >= panel_rows_min_;
  }
  uint8_t* PanelMemory(bool wanted, int64_t cols, int member) {
    if (!wanted) return nullptr;
    return cpu_.panels[member].Get(static_cast<size_t>(2 * (cols / kGroupCols) * 512));
  }

  // The group's rows of `out` = those of `in` times strips [begin, end) of the weight.
  void Multiply(const Weight* weight, const float* bias, const Group& group, const PairMatrix& in,
                int64_t begin, int64_t end, float* out, int member) {
    const PackedView& view = ViewOf(weight);
    const bool panels = Panels(view, group);
    cpu_.table.linear(view, begin, end, in.Of(group),
                      {out + group.begin * view.rows, view.rows, view.rows, bias, false}, panels,
                      PanelMemory(panels, in.cols, member));
  }

  void GateUp(const Group& group, int64_t begin, int64_t end, int member) {
    const Expert& expert = *group.expert;
    const PackedView& gate = ViewOf(expert.gate);
    const bool plain = args_.activation == ExpertActivation::kSilu &&
                       gate.form == ViewOf(expert.up).form && expert.gate_bias == nullptr &&
                       expert.up_bias == nullptr;
    if (plain) {
      const bool panels = Panels(gate, group);
      cpu_.table.gated(gate, ViewOf(expert.up), begin, end, in_.Of(group),
                       {gated_.x + group.begin * gate.rows, gate.rows, gate.rows, nullptr, false},
                       panels, PanelMemory(panels, in_.cols, member));
      return;
    }
    Multiply(expert.gate, expert.gate_bias, group, in_, begin, end, gated_.x, member);
    Multiply(expert.up, expert.up_bias, group, in_, begin, end, up_, member);
    const int64_t column = begin * kStripRows;
    const int64_t width = std::min(end * kStripRows, gate.rows) - column;
    for (int64_t pair = group.begin; pair < group.begin + group.count; ++pair) {
      float* g = gated_.x + pair * gate.rows + column;
      const float* u = up_ + pair * gate.rows + column;
      if (args_.activation == ExpertActivation::kSilu) {
        cpu_.table.silu_times(g, u, width, g);
      } else {
        cpu_.table.clamped_swiglu(g, u, args_.limit, args_.alpha, width, g);
      }
    }
  }

  void AddUp() {
    const int64_t per_row = args_.experts_per_row;
    for (int64_t r = next_[4].fetch_add(1); r < rows_; r = next_[4].fetch_add(1)) {
      float* out = args_.out.row(first_row_ + r);
      for (int64_t i = r * per_row; i < (r + 1) * per_row; ++i) {
        cpu_.table.add_scaled(down_ + pairs_.place[i] * args_.out.cols,
                              args_.weights[first_row_ * per_row + i], args_.out.cols, out);
      }
    }
  }

  const ExpertsArgs& args_;
  const int64_t first_row_, rows_, panel_rows_min_;
  CpuContext& cpu_;
  const Pairs pairs_;
  Wanted wanted_down_;
  PairMatrix in_, gated_;
  float* up_ = nullptr;
  float* down_ = nullptr;  // [pairs, out_cols]
  std::atomic<int64_t> next_[5] = {};
};

}  // namespace

void RunExperts(const ExpertsArgs& args, int64_t panel_rows_min, CpuContext& cpu) {
  for (int64_t row = 0; row < args.in.rows; row += kSlabRows) {
    Slab(args, row, std::min(kSlabRows, args.in.rows - row), panel_rows_min, cpu).Run();
  }
}

}  // namespace baton::device::kernels
