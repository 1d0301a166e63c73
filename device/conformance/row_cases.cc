#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "device/conformance/case_data.h"
#include "device/conformance/case_lists.h"

namespace baton::device {
namespace {

constexpr double kExactLimit = 1e-6;
constexpr double kFloatLimit = 1e-5;      // float32 with another order of sums
constexpr double kAttentionLimit = 2e-3;  // probabilities may be rounded to half precision

struct RmsNormCase {
  RmsNormCase(Device& device, int64_t r, int64_t c) : memory(device), rows(r), cols(c) {}
  absl::Status Init() {
    BATON_ASSIGN_OR_RETURN(in, memory.Matrix(data.Many(rows * cols, 3.0f), cols));
    BATON_ASSIGN_OR_RETURN(gain, memory.Floats(data.Many(cols)));
    BATON_ASSIGN_OR_RETURN(out, memory.Matrix(std::vector<float>(rows * cols), cols));
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<float>> Run(RowRange range) {
    const MatrixView part = Rows(out, range);
    BATON_RETURN_IF_ERROR(memory.device().RmsNorm({Rows(in, range), {gain, 1e-5f}, part}));
    return memory.Read(part);
  }
  RandomValues data{11};
  CaseMemory memory;
  const int64_t rows, cols;
  const float* gain = nullptr;
  MatrixView in, out;
};

struct GatherCase {
  GatherCase(Device& device, int64_t r, int64_t c) : memory(device), rows(r), cols(c) {}
  absl::Status Init() {
    BATON_ASSIGN_OR_RETURN(in, memory.Matrix(data.Many(rows * cols), cols));
    BATON_ASSIGN_OR_RETURN(out, memory.Matrix(std::vector<float>(rows * cols), cols));
    for (int64_t r = 0; r < rows; ++r) from.push_back(data.Below(rows));
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<float>> Run(RowRange range) {
    const MatrixView part = Rows(out, range);
    BATON_RETURN_IF_ERROR(memory.device().GatherRows(
        {in, absl::MakeConstSpan(from).subspan(range.begin, range.count), part}));
    return memory.Read(part);
  }
  RandomValues data{12};
  CaseMemory memory;
  const int64_t rows, cols;
  std::vector<int32_t> from;
  MatrixView in, out;
};

struct CopyHeadsCase {
  static constexpr int32_t kHeads = 3;
  CopyHeadsCase(Device& device, int64_t r, int64_t c) : memory(device), rows(r), cols(c) {}
  absl::Status Init() {
    BATON_ASSIGN_OR_RETURN(in, memory.Matrix(data.Many(rows * kHeads * cols), kHeads * cols));
    BATON_ASSIGN_OR_RETURN(
        out, memory.Matrix(std::vector<float>(rows * kHeads * (cols + 3)), kHeads * (cols + 3)));
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<float>> Run(RowRange range) {
    const MatrixView part = Rows(out, range);
    BATON_RETURN_IF_ERROR(
        memory.device().CopyHeads({Rows(in, range), cols, part, cols + 3, kHeads, cols - 1}));
    return memory.Read(part);
  }
  RandomValues data{13};
  CaseMemory memory;
  const int64_t rows, cols;
  MatrixView in, out;
};

// Part of each head is rotated; the sequence begins in the middle of the table.
struct RopeCase {
  static constexpr int64_t kPosition = 29;
  RopeCase(Device& device, int64_t r, int32_t dim, RopeStyle s)
      : memory(device), rows(r), head_dim(dim), style(s) {}
  absl::Status Init() {
    const int32_t rotary = head_dim - 4;
    before = data.Many(rows * 2 * head_dim);
    BATON_ASSIGN_OR_RETURN(x, memory.Matrix(before, 2 * head_dim));
    std::vector<float> angles;
    for (int64_t p = 0; p < kPosition + rows; ++p) {
      for (int32_t i = 0; i < rotary; ++i) {
        const double angle =
            static_cast<double>(p) * std::pow(1e4, -2.0 * (i % (rotary / 2)) / rotary);
        angles.push_back(static_cast<float>(i < rotary / 2 ? std::cos(angle) : std::sin(angle)));
      }
    }
    BATON_ASSIGN_OR_RETURN(table, memory.Matrix(angles, rotary));
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<float>> Run(RowRange range) {
    const MatrixView part = Rows(x, {0, range.count});
    BATON_RETURN_IF_ERROR(memory.device().Copy(part.data, &before[range.begin * x.cols],
                                               range.count * x.cols * sizeof(float)));
    const int32_t block = 0;
    const SequenceRows sequence{.row_count = static_cast<int32_t>(range.count),
                                .position = kPosition + range.begin,
                                .block_table = &block,
                                .block_count = 1};
    BATON_RETURN_IF_ERROR(memory.device().Rope({.x = part,
                                                .head_dim = head_dim,
                                                .rotary_dim = head_dim - 4,
                                                .style = style,
                                                .table = table,
                                                .sequences = {&sequence, 1}}));
    return memory.Read(part);
  }
  RandomValues data{14};
  CaseMemory memory;
  const int64_t rows;
  const int32_t head_dim;
  const RopeStyle style;
  std::vector<float> before;
  MatrixView x, table;
};

struct AttentionOptions {
  int32_t query_heads, kv_heads, head_dim, block_tokens, latent_dim;
  int64_t context, window;
  bool sinks;
};

// append_kv and attention of one sequence whose blocks are scattered over the pool.
struct AttentionCase {
  AttentionCase(Device& device, int64_t r, AttentionOptions o) : memory(device), rows(r), o(o) {}
  absl::Status Init() {
    const int64_t tokens = o.context + rows;
    const int32_t blocks = static_cast<int32_t>((tokens + o.block_tokens - 1) / o.block_tokens);
    view.geometry = {.layers = 1,
                     .kv_heads = o.kv_heads,
                     .head_dim = o.head_dim,
                     .block_tokens = o.block_tokens,
                     .dtype = DType::kF16,
                     .latent_dim = o.latent_dim};
    view.blocks = blocks + 1;
    BATON_ASSIGN_OR_RETURN(view.layer_base,
                           memory.Bytes(view.blocks * view.geometry.BlockLayerBytes()));
    for (int32_t b = 0; b < blocks; ++b) table.push_back(blocks - b);
    const int64_t kv_cols = int64_t{o.kv_heads} * o.head_dim;
    BATON_ASSIGN_OR_RETURN(MatrixView key, memory.Matrix(data.Many(tokens * kv_cols), kv_cols));
    BATON_ASSIGN_OR_RETURN(MatrixView value, memory.Matrix(data.Many(tokens * kv_cols), kv_cols));
    const SequenceRows all = Sequence(0, tokens);
    BATON_RETURN_IF_ERROR(memory.device().AppendKv({key, value, view, {&all, 1}}));
    const int64_t query_cols = int64_t{o.query_heads} * o.head_dim;
    BATON_ASSIGN_OR_RETURN(query, memory.Matrix(data.Many(rows * query_cols), query_cols));
    const int64_t out_cols = int64_t{o.query_heads} * view.geometry.value_dim();
    BATON_ASSIGN_OR_RETURN(out, memory.Matrix(std::vector<float>(rows * out_cols), out_cols));
    BATON_ASSIGN_OR_RETURN(sinks, memory.Floats(data.Many(o.query_heads)));
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<float>> Run(RowRange range) {
    const MatrixView part = Rows(out, range);
    const SequenceRows sequence = Sequence(o.context + range.begin, range.count);
    BATON_RETURN_IF_ERROR(
        memory.device().Attention({.query = Rows(query, range),
                                   .kv = view,
                                   .sequences = {&sequence, 1},
                                   .query_heads = o.query_heads,
                                   .scale = 1.0f / std::sqrt(static_cast<float>(o.head_dim)),
                                   .out = part,
                                   .sinks = o.sinks ? sinks : nullptr,
                                   .window = o.window}));
    return memory.Read(part);
  }
  SequenceRows Sequence(int64_t position, int64_t count) const {
    return {.row_begin = 0,
            .row_count = static_cast<int32_t>(count),
            .position = position,
            .block_table = table.data(),
            .block_count = static_cast<int32_t>(table.size())};
  }
  RandomValues data{15};
  CaseMemory memory;
  const int64_t rows;
  const AttentionOptions o;
  PagedKvView view;
  std::vector<int32_t> table;
  MatrixView query, out;
  const float* sinks = nullptr;
};

OpCase AttentionCaseOf(const std::string& what, int64_t rows, AttentionOptions o) {
  const double keys = static_cast<double>(rows) * static_cast<double>(o.context + rows / 2);
  return {"attention",
          what,
          rows,
          kAttentionLimit,
          4.0 * keys * o.query_heads * o.head_dim,
          4.0 * static_cast<double>(o.context + rows) * o.kv_heads * o.head_dim,
          CaseOf<AttentionCase>(rows, o)};
}

}  // namespace

std::vector<OpCase> RowOpCases(bool large) {
  const int64_t rows = large ? 64 : 7, cols = large ? 2048 : 45;
  const double moved = 8.0 * static_cast<double>(rows * cols);
  const int32_t dim = large ? 128 : 24;
  std::vector<OpCase> cases = {
      {"rms_norm", "", rows, kFloatLimit, 0, moved, CaseOf<RmsNormCase>(rows, cols)},
      {"gather_rows", "", rows, kExactLimit, 0, moved, CaseOf<GatherCase>(rows, cols)},
      {"copy_heads", "", rows, kExactLimit, 0, 3 * moved, CaseOf<CopyHeadsCase>(rows, cols)},
      {"rope", "interleaved", rows, kFloatLimit, 0, 16.0 * static_cast<double>(rows * dim),
       CaseOf<RopeCase>(rows, dim, RopeStyle::kInterleaved)},
      {"rope", "half", rows, kFloatLimit, 0, 16.0 * static_cast<double>(rows * dim),
       CaseOf<RopeCase>(rows, dim, RopeStyle::kHalf)},
  };
  if (large) {
    cases.push_back(AttentionCaseOf("32/8 heads of 128, 1,000 tokens", rows,
                                    {32, 8, 128, 32, 0, 1000, 0, false}));
    return cases;
  }
  cases.push_back(AttentionCaseOf("append_kv, 6/2 heads", rows, {6, 2, 24, 16, 0, 50, 0, false}));
  cases.push_back(AttentionCaseOf("one KV head", rows, {3, 1, 64, 32, 0, 100, 0, false}));
  cases.push_back(AttentionCaseOf("no history", rows, {4, 4, 32, 16, 0, 0, 0, false}));
  cases.push_back(AttentionCaseOf("window and sinks", rows, {4, 2, 32, 64, 0, 150, 40, true}));
  cases.push_back(AttentionCaseOf("latent cache", rows, {4, 1, 48, 16, 32, 60, 0, false}));
  return cases;
}

}  // namespace baton::device
