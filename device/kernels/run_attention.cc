#include "device/kernels/run_attention.h"

#include <algorithm>
#include <atomic>
#include <vector>

namespace baton::device::kernels {
namespace {

// New tokens [row_begin, row_begin + row_count) of one sequence under one KV head.
struct Item {
  const SequenceRows* sequence;
  int32_t kv_head;
  int32_t row_begin;
  int32_t row_count;
  int64_t first_span;   // that its first row sees
  int64_t spans;        // from there to the last that its last row sees
  int64_t state_begin;  // first of its spans' states where spans are items
};

int32_t Padded(int32_t dim) { return (dim + 15) / 16 * 16; }

std::vector<Item> MakeItems(const AttentionArgs& args, int32_t row_block) {
  std::vector<Item> items;
  int64_t states = 0;
  for (const SequenceRows& s : args.sequences) {
    for (int32_t head = 0; head < args.kv.geometry.kv_heads; ++head) {
      for (int32_t row = 0; row < s.row_count; row += row_block) {
        const int32_t count = std::min(row_block, s.row_count - row);
        const int64_t limit = s.position + row + count;
        const int64_t first_key = args.window == 0 ? 0 : s.position + row + 1 - args.window;
        const int64_t first_span = std::max<int64_t>(first_key, 0) / kSpanKeys;
        const int64_t spans = (limit + kSpanKeys - 1) / kSpanKeys - first_span;
        items.push_back({&s, head, row, count, first_span, spans, states});
        states += spans;
      }
    }
  }
  return items;
}

KvHead HeadOf(const AttentionArgs& args, const Item& item) {
  const KvGeometry& g = args.kv.geometry;
  const int64_t head_bytes = int64_t{g.head_dim} * g.block_tokens * BlockBytes(g.dtype);
  return {args.kv.layer_base,
          args.kv.block_stride(),
          item.kv_head * head_bytes,
          g.KeyBytes() + item.kv_head * head_bytes,
          item.sequence->block_table,
          g.block_tokens,
          g.head_dim,
          g.value_dim(),
          g.latent_dim > 0,
          g.dtype == DType::kF32   ? KvNumber::kF32
          : g.dtype == DType::kF16 ? KvNumber::kF16
                                   : KvNumber::kBF16};
}

// One past the last key that a row of the item sees.
int64_t LimitOf(const Item& item) {
  return item.sequence->position + item.row_begin + item.row_count;
}

// The queries of an item: all heads of the group for each of its rows.
class ItemRows {
 public:
  ItemRows(const AttentionArgs& args, const Item& item)
      : args_(args), item_(item), group_(args.query_heads / args.kv.geometry.kv_heads) {
    for (int32_t r = 0; r < item.row_count; ++r) {
      for (int32_t h = 0; h < group_; ++h) {
        query_.push_back(args.query.row(Row(r)) + Column(h));
        limits_.push_back(item.sequence->position + item.row_begin + r + 1);
      }
    }
  }

  QueryRows rows() const {
    return {query_.data(), limits_.data(), static_cast<int32_t>(query_.size()), args_.scale,
            args_.window};
  }
  // Of query row i: its head among all, and where its result goes.
  int32_t query_head(int32_t i) const { return item_.kv_head * group_ + i % group_; }
  float* out(int32_t i) const {
    return args_.out.row(Row(i / group_)) + int64_t{query_head(i)} * args_.kv.geometry.value_dim();
  }

 private:
  int64_t Row(int32_t r) const { return item_.sequence->row_begin + item_.row_begin + r; }
  int64_t Column(int32_t h) const {
    return int64_t{item_.kv_head * group_ + h} * args_.kv.geometry.head_dim;
  }

  const AttentionArgs& args_;
  const Item& item_;
  int32_t group_;
  std::vector<const float*> query_;
  std::vector<int64_t> limits_;
};

// Softmax state of up to `rows` rows, in floats: highest, sum, values.
int64_t StateFloats(int64_t rows, int32_t padded) {
  return (2 * rows + 15) / 16 * 16 + rows * padded;
}

SoftmaxState StateAt(float* memory, int64_t rows) {
  return {memory, memory + rows, memory + (2 * rows + 15) / 16 * 16};
}

void MergeSpan(const KernelTable& table, const SoftmaxState& span, int32_t rows, int32_t padded,
               const SoftmaxState& into) {
  for (int32_t r = 0; r < rows; ++r) {
    table.merge(into.highest + r, into.sum + r, into.values + r * padded, span.highest[r],
                span.sum[r], span.values + r * padded, padded);
  }
}

// Scratch of attend_span (kernel_table.h).
size_t TileBytes(const KvGeometry& g, int64_t rows) {
  const int64_t count = (rows + 15) / 16 * 16;
  int64_t bytes =
      int64_t{kTileKeys} * 4 * (Padded(g.head_dim) + Padded(g.value_dim())) + 64 * count;
  if (g.dtype == DType::kBF16) bytes += 4 * count * ((g.head_dim + 31) / 32 * 32) + 8192;
  return static_cast<size_t>(bytes);
}

// Everything that the members of one run share.
struct Plan {
  const AttentionArgs& args;
  const std::vector<Item>& items;
  int32_t padded;
  int64_t rows_max;          // query rows of the largest item
  int64_t state_floats;      // of that many rows
  size_t tile_bytes;         // scratch of attend_span
  std::vector<float> zeros;  // [padded], where there are sinks
};

void FinishItem(const Plan& plan, const Item& item, const KernelTable& table,
                const SoftmaxState& state) {
  const ItemRows rows(plan.args, item);
  const int32_t count = rows.rows().count;
  for (int32_t i = 0; i < count; ++i) {
    float* values = state.values + i * plan.padded;
    if (plan.args.sinks != nullptr) {
      // A span of one key whose value is zero, after all others.
      table.merge(state.highest + i, state.sum + i, values, plan.args.sinks[rows.query_head(i)],
                  1.0f, plan.zeros.data(), plan.padded);
    }
    table.finish(values, state.sum[i], plan.args.kv.geometry.value_dim(), rows.out(i));
  }
}

void ClearState(const SoftmaxState& state, int64_t rows, int32_t padded) {
  std::fill(state.highest, state.highest + rows, 0.0f);
  std::fill(state.sum, state.sum + rows, 0.0f);
  std::fill(state.values, state.values + rows * padded, 0.0f);
}

// One item from its first span to its last; `next`: the one that this member takes then, or null.
void RunWhole(const Plan& plan, const Item& item, const Item* next, const KernelTable& table,
              uint8_t* scratch) {
  const ItemRows rows(plan.args, item);
  const KvHead head = HeadOf(plan.args, item);
  const KvHead next_head = HeadOf(plan.args, next != nullptr ? *next : item);
  float* floats = reinterpret_cast<float*>(scratch + plan.tile_bytes);
  const SoftmaxState span_state = StateAt(floats, plan.rows_max);
  const SoftmaxState state = StateAt(floats + plan.state_floats, plan.rows_max);
  const QueryRows queries = rows.rows();
  ClearState(state, queries.count, plan.padded);
  for (int64_t span = 0; span < item.spans; ++span) {
    KvAhead ahead{};
    if (span + 1 < item.spans) {
      ahead = {&head, (item.first_span + span + 1) * kSpanKeys, LimitOf(item)};
    } else if (next != nullptr) {
      ahead = {&next_head, next->first_span * kSpanKeys, LimitOf(*next)};
    }
    table.attend_span(head, queries, item.first_span + span, ahead, span_state, scratch);
    MergeSpan(table, span_state, queries.count, plan.padded, state);
  }
  FinishItem(plan, item, table, state);
}

void RunBySpan(const Plan& plan, CpuContext& cpu, float* states, std::atomic<int64_t>* next) {
  const Item& last = plan.items.back();
  const int64_t total = last.state_begin + last.spans;
  cpu.team.Run([&](int member) {
    uint8_t* scratch = cpu.scratch[member].Get(plan.tile_bytes + 2 * plan.state_floats * 4);
    for (int64_t i = next[0].fetch_add(1); i < total; i = next[0].fetch_add(1)) {
      const auto item = std::prev(std::upper_bound(
          plan.items.begin(), plan.items.end(), i,
          [](int64_t value, const Item& candidate) { return value < candidate.state_begin; }));
      const ItemRows rows(plan.args, *item);
      cpu.table.attend_span(HeadOf(plan.args, *item), rows.rows(),
                            item->first_span + i - item->state_begin, KvAhead{},
                            StateAt(states + i * plan.state_floats, plan.rows_max), scratch);
    }
    cpu.team.Barrier();
    const int64_t items = static_cast<int64_t>(plan.items.size());
    for (int64_t i = next[1].fetch_add(1); i < items; i = next[1].fetch_add(1)) {
      const Item& item = plan.items[i];
      const int32_t count = ItemRows(plan.args, item).rows().count;
      const SoftmaxState state =
          StateAt(reinterpret_cast<float*>(scratch + plan.tile_bytes), plan.rows_max);
      ClearState(state, count, plan.padded);
      for (int64_t span = 0; span < item.spans; ++span) {
        MergeSpan(cpu.table,
                  StateAt(states + (item.state_begin + span) * plan.state_floats, plan.rows_max),
                  count, plan.padded, state);
      }
      FinishItem(plan, item, cpu.table, state);
    }
  });
}

}  // namespace

void RunAttention(const AttentionArgs& args, int32_t row_block, CpuContext& cpu) {
  const std::vector<Item> items = MakeItems(args, row_block);
  const KvGeometry& g = args.kv.geometry;
  const int32_t padded = Padded(g.value_dim());
  int64_t rows_max = 0;
  for (const Item& item : items) rows_max = std::max<int64_t>(rows_max, item.row_count);
  rows_max *= args.query_heads / g.kv_heads;
  const Plan plan{args,
                  items,
                  padded,
                  rows_max,
                  StateFloats(rows_max, padded),
                  TileBytes(g, rows_max),
                  std::vector<float>(args.sinks != nullptr ? padded : 0)};
  std::atomic<int64_t> next[2] = {0, 0};
  const int64_t states = items.back().state_begin + items.back().spans;
  const int64_t count = static_cast<int64_t>(items.size());
  if (cpu.team.size() > 1 && count < 2 * cpu.team.size() && states > count) {
    float* memory = reinterpret_cast<float*>(
        cpu.shared.Get(static_cast<size_t>(states * plan.state_floats * 4)));
    RunBySpan(plan, cpu, memory, next);
    return;
  }
  cpu.team.Share([&](int member) {
    uint8_t* scratch = cpu.scratch[member].Get(plan.tile_bytes + 2 * plan.state_floats * 4);
    for (int64_t i = next[0].fetch_add(1); i < count; i = next[0].fetch_add(1)) {
      const int64_t next_item = i + cpu.team.size();  // where members take turns
      RunWhole(plan, items[i], next_item < count ? &items[next_item] : nullptr, cpu.table, scratch);
    }
  });
}

}  // namespace baton::device::kernels
