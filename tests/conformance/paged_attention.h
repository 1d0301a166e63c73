// Two sequences in one paged cache, appended and attended to step by step.
#pragma once

#include <algorithm>
#include <vector>

#include "tests/conformance/chips.h"

namespace baton::device {

struct AttentionShape {
  int32_t head_dim, kv_heads, group, block_tokens;
  DType dtype;
  int32_t latent_dim = 0;
  bool sinks = false;
  int64_t window = 0;

  int32_t value_dim() const { return latent_dim > 0 ? latent_dim : head_dim; }
};

// The sequences share a pool of shuffled blocks; the first has `context` tokens, the second 37.
// Slots that nobody wrote hold NaN, which must not matter.
class PagedAttention {
 public:
  PagedAttention(Device& device, const AttentionShape& shape, int64_t context)
      : device_(device), group_(shape.group), window_(shape.window) {
    geometry_ = {1,           shape.kv_heads,  shape.head_dim, shape.block_tokens,
                 shape.dtype, shape.latent_dim};
    kv_cols_ = int64_t{shape.kv_heads} * shape.head_dim;
    query_cols_ = kv_cols_ * shape.group;
    out_cols_ = int64_t{shape.kv_heads} * shape.group * shape.value_dim();
    lengths_[0] = context;
    lengths_[1] = 37;
    int32_t blocks = 0;
    for (int s = 0; s < 2; ++s) {
      for (int64_t t = 0; t < lengths_[s]; t += shape.block_tokens) tables_[s].push_back(blocks++);
    }
    for (auto& table : tables_) {
      for (int32_t& block : table) block = blocks - 1 - block;
    }
    auto memory = device.Allocate(static_cast<size_t>(blocks * geometry_.BlockLayerBytes()));
    EXPECT_TRUE(memory.ok()) << memory.status();
    memory_ = *std::move(memory);
    std::memset(memory_.data(), 0xff, memory_.bytes());  // NaN in both dtypes
    kv_ = {.geometry = geometry_,
           .layer_base = static_cast<uint8_t*>(memory_.data()),
           .blocks = blocks};
    RandomValues random(context * 31 + shape.head_dim);
    if (shape.sinks) sinks_ = random.Many(int64_t{shape.kv_heads} * shape.group, 2.0f);
    for (int s = 0; s < 2; ++s) {
      keys_[s] = random.Many(lengths_[s] * kv_cols_);
      values_[s] = random.Many(lengths_[s] * kv_cols_);
      queries_[s] = random.Many(lengths_[s] * query_cols_);
    }
  }

  // Appends all but the last `fresh` tokens of each at once; then the fresh ones in steps of at
  // most `chunk` tokens of each sequence, attending to every one. Returns the outputs of the fresh
  // tokens, of the first sequence and then of the second.
  std::vector<float> Run(int64_t fresh, int64_t chunk) {
    int64_t done[2] = {}, end[2];
    for (int s = 0; s < 2; ++s) end[s] = std::max<int64_t>(lengths_[s] - fresh, 0);
    Append(done, end);
    std::vector<float> outputs[2];
    while (true) {
      for (int s = 0; s < 2; ++s) {
        done[s] = end[s];
        end[s] = std::min(done[s] + chunk, lengths_[s]);
      }
      if (done[0] == end[0] && done[1] == end[1]) break;
      Attend(Append(done, end), outputs);
    }
    outputs[0].insert(outputs[0].end(), outputs[1].begin(), outputs[1].end());
    return outputs[0];
  }

 private:
  // The tokens [done, end) of both as rows of one step.
  std::vector<SequenceRows> RowsOf(const int64_t (&done)[2], const int64_t (&end)[2]) const {
    std::vector<SequenceRows> rows;
    int32_t next = 0;
    for (int s = 0; s < 2; ++s) {
      const auto count = static_cast<int32_t>(end[s] - done[s]);
      if (count == 0) continue;
      rows.push_back(
          {next, count, done[s], tables_[s].data(), static_cast<int32_t>(tables_[s].size())});
      next += count;
    }
    return rows;
  }
  int IndexOf(const SequenceRows& r) const { return r.block_table == tables_[0].data() ? 0 : 1; }

  // What a step takes from a matrix of all tokens.
  std::vector<float> Gather(const std::vector<SequenceRows>& rows,
                            const std::vector<float> (&all)[2], int64_t cols) const {
    std::vector<float> out;
    for (const SequenceRows& r : rows) {
      const auto begin = all[IndexOf(r)].begin() + r.position * cols;
      out.insert(out.end(), begin, begin + r.row_count * cols);
    }
    return out;
  }

  std::vector<SequenceRows> Append(const int64_t (&done)[2], const int64_t (&end)[2]) {
    const std::vector<SequenceRows> rows = RowsOf(done, end);
    if (rows.empty()) return rows;
    const std::vector<float> k = Gather(rows, keys_, kv_cols_), v = Gather(rows, values_, kv_cols_);
    const int64_t n = rows.back().row_begin + rows.back().row_count;
    const absl::Status status = device_.AppendKv(
        {{k.data(), n, kv_cols_, kv_cols_}, {v.data(), n, kv_cols_, kv_cols_}, kv_, rows});
    EXPECT_TRUE(status.ok()) << status;
    return rows;
  }

  void Attend(const std::vector<SequenceRows>& rows, std::vector<float> (&outputs)[2]) {
    const std::vector<float> q = Gather(rows, queries_, query_cols_);
    const int64_t n = rows.back().row_begin + rows.back().row_count;
    std::vector<float> out(n * out_cols_);
    const absl::Status status =
        device_.Attention({.query = {q.data(), n, query_cols_, query_cols_},
                           .kv = kv_,
                           .sequences = rows,
                           .query_heads = geometry_.kv_heads * group_,
                           .scale = 1.0f / std::sqrt(static_cast<float>(geometry_.head_dim)),
                           .out = {out.data(), n, out_cols_, out_cols_},
                           .sinks = sinks_.empty() ? nullptr : sinks_.data(),
                           .window = window_});
    EXPECT_TRUE(status.ok()) << status;
    for (const SequenceRows& r : rows) {
      const auto begin = out.begin() + r.row_begin * out_cols_;
      std::vector<float>& all = outputs[IndexOf(r)];
      all.insert(all.end(), begin, begin + r.row_count * out_cols_);
    }
  }

  Device& device_;
  int32_t group_;
  int64_t window_;
  KvGeometry geometry_;
  int64_t kv_cols_, query_cols_, out_cols_;
  std::vector<float> sinks_;
  int64_t lengths_[2];
  std::vector<int32_t> tables_[2];
  Buffer memory_;
  PagedKvView kv_;
  std::vector<float> keys_[2], values_[2], queries_[2];
};

inline std::vector<float> RunAttention(Device& device, const AttentionShape& shape, int64_t context,
                                       int64_t fresh, int64_t chunk) {
  return PagedAttention(device, shape, context).Run(fresh, chunk);
}

}  // namespace baton::device
