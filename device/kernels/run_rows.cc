#include "device/kernels/run_rows.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "device/kernels/packed_weight.h"

namespace baton::device::kernels {
namespace {

// Calls f(begin, end) on ranges of [0, rows): at once for few rows, handed out to the team
// otherwise.
template <typename F>
void ForRows(int64_t rows, CpuContext& cpu, const F& f) {
  constexpr int64_t kPieceRows = 16;
  if (rows <= kPieceRows || cpu.team.size() == 1) {
    f(0, rows);
    return;
  }
  std::atomic<int64_t> next{0};
  cpu.team.Share([&](int) {
    for (int64_t row = next.fetch_add(kPieceRows); row < rows; row = next.fetch_add(kPieceRows)) {
      f(row, std::min(row + kPieceRows, rows));
    }
  });
}

// Calls f(sequence, row within it) for the batch rows [begin, end).
template <typename F>
void ForSequenceRows(absl::Span<const SequenceRows> sequences, int64_t begin, int64_t end,
                     const F& f) {
  for (const SequenceRows& s : sequences) {
    const int64_t from = std::max<int64_t>(begin - s.row_begin, 0);
    const int64_t to = std::min<int64_t>(end - s.row_begin, s.row_count);
    for (int64_t r = from; r < to; ++r) f(s, r);
  }
}

// One token's keys and values into their slots, as elements of type T.
template <typename T>
void Scatter(const KvGeometry& g, const T* key, const T* value, int64_t slot, uint8_t* keys,
             uint8_t* values) {
  T* k = reinterpret_cast<T*>(keys);
  T* v = reinterpret_cast<T*>(values);
  for (int64_t i = 0; i < int64_t{g.kv_heads} * g.head_dim; ++i) {
    k[i * g.block_tokens + slot] = key[i];
  }
  if (g.latent_dim > 0) return;
  for (int64_t head = 0; head < g.kv_heads; ++head) {
    std::memcpy(v + (head * g.block_tokens + slot) * g.head_dim, value + head * g.head_dim,
                static_cast<size_t>(g.head_dim) * sizeof(T));
  }
}

}  // namespace

void RunEmbed(const EmbedArgs& args, CpuContext& cpu) {
  const PackedWeight& table = *static_cast<const PackedWeight*>(args.table);
  ForRows(static_cast<int64_t>(args.ids.size()), cpu, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* row = args.out.row(i);
      table.DequantizeRow(args.ids[i], row);
      if (args.scale == 1) continue;
      for (int64_t c = 0; c < args.out.cols; ++c) row[c] *= args.scale;
    }
  });
}

void RunRmsNorm(const RmsNormArgs& args, CpuContext& cpu) {
  ForRows(args.in.rows, cpu, [&](int64_t begin, int64_t end) {
    std::vector<float> normed(args.accumulate ? args.in.cols : 0);
    for (int64_t r = begin; r < end; ++r) {
      float* out = args.out.row(r);
      cpu.table.rms_norm(args.in.row(r), args.norm.gain, args.norm.epsilon, args.in.cols,
                         args.accumulate ? normed.data() : out);
      if (args.accumulate) cpu.table.add_scaled(normed.data(), 1.0f, args.in.cols, out);
    }
  });
}

void RunRope(const RopeArgs& args, CpuContext& cpu) {
  const int32_t half = args.rotary_dim / 2;
  ForRows(args.x.rows, cpu, [&](int64_t begin, int64_t end) {
    ForSequenceRows(args.sequences, begin, end, [&](const SequenceRows& s, int64_t r) {
      const float* cosines = args.table.row(s.position + r);
      float* row = args.x.row(s.row_begin + r);
      for (float* head = row; head < row + args.x.cols; head += args.head_dim) {
        cpu.table.rope(head, cosines, cosines + half, half, args.style == RopeStyle::kInterleaved);
      }
    });
  });
}

void RunAppendKv(const AppendKvArgs& args, CpuContext& cpu) {
  const KvGeometry& g = args.kv.geometry;
  const int64_t cols = args.key.cols;
  ForRows(args.key.rows, cpu, [&](int64_t begin, int64_t end) {
    std::vector<uint16_t> half(static_cast<size_t>(2 * cols));
    ForSequenceRows(args.sequences, begin, end, [&](const SequenceRows& s, int64_t r) {
      const int64_t position = s.position + r;
      const int32_t block = s.block_table[position / g.block_tokens];
      const int64_t slot = position % g.block_tokens;
      const float* key = args.key.row(s.row_begin + r);
      const bool latent = g.latent_dim > 0;
      const float* value = latent ? nullptr : args.value.row(s.row_begin + r);
      if (g.dtype == DType::kF32) {
        Scatter(g, key, value, slot, args.kv.keys(block), args.kv.values(block));
        return;
      }
      const auto round = g.dtype == DType::kF16 ? cpu.table.to_half : cpu.table.to_bfloat;
      round(key, cols, half.data());
      if (!latent) round(value, cols, half.data() + cols);
      Scatter(g, half.data(), half.data() + cols, slot, args.kv.keys(block), args.kv.values(block));
    });
  });
}

void RunCopyHeads(const CopyHeadsArgs& args, CpuContext& cpu) {
  ForRows(args.in.rows, cpu, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t head = 0; head < args.heads; ++head) {
        std::memcpy(args.out.row(r) + head * args.out_step, args.in.row(r) + head * args.in_step,
                    static_cast<size_t>(args.cols) * sizeof(float));
      }
    }
  });
}

void RunGatherRows(const GatherRowsArgs& args, CpuContext&) {
  for (size_t i = 0; i < args.rows.size(); ++i) {
    std::memcpy(args.out.row(static_cast<int64_t>(i)), args.in.row(args.rows[i]),
                static_cast<size_t>(args.in.cols) * sizeof(float));
  }
}

}  // namespace baton::device::kernels
