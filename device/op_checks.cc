#include "device/op_checks.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::device {
namespace {

constexpr int64_t kColsMax = int64_t{1} << 31;

template <typename... Parts>
absl::Status Bad(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status CheckMatrix(absl::string_view name, const ConstMatrixView& m) {
  if (m.data == nullptr) return Bad(name, " is null");
  if (m.rows < 1 || m.cols < 1 || m.cols > kColsMax) {
    return Bad(name, " is [", m.rows, ", ", m.cols, "], needs at least one row and column");
  }
  if (m.stride < m.cols) return Bad(name, " has stride ", m.stride, ", needs at least ", m.cols);
  return absl::OkStatus();
}

absl::Status CheckShape(absl::string_view name, const ConstMatrixView& m, int64_t rows,
                        int64_t cols) {
  BATON_RETURN_IF_ERROR(CheckMatrix(name, m));
  if (m.rows != rows || m.cols != cols) {
    return Bad(name, " is [", m.rows, ", ", m.cols, "], needs [", rows, ", ", cols, "]");
  }
  return absl::OkStatus();
}

absl::Status CheckNorm(absl::string_view op, const Norm& norm) {
  if (norm.gain != nullptr && !(norm.epsilon >= 0 && norm.epsilon < 1)) {
    return Bad(op, ".norm.epsilon is ", norm.epsilon, ", needs [0, 1)");
  }
  return absl::OkStatus();
}

absl::Status CheckWeight(absl::string_view name, const Weight* weight, int64_t cols) {
  if (weight == nullptr) return Bad(name, " is null");
  if (weight->cols() != cols) {
    return Bad(name, " has ", weight->cols(), " columns, the input has ", cols);
  }
  return absl::OkStatus();
}

// Heads of `cols` columns, `step` apart, lie within the matrix and do not overlap.
absl::Status CheckHeads(absl::string_view name, const ConstMatrixView& m, int64_t step,
                        int64_t heads, int64_t cols) {
  if (step < cols || (heads - 1) * step + cols > m.cols) {
    return Bad(name, " has ", m.cols, " columns, ", heads, " heads of ", cols, " every ", step,
               " do not fit");
  }
  return absl::OkStatus();
}

// The sequences' rows tile [0, rows) in order.
absl::Status CheckRows(absl::string_view op, absl::Span<const SequenceRows> sequences,
                       int64_t rows) {
  int64_t next = 0;
  for (const SequenceRows& s : sequences) {
    if (s.row_begin != next || s.row_count < 1) {
      return Bad(op, ".sequences: rows [", s.row_begin, ", +", s.row_count, ") do not follow row ",
                 next);
    }
    if (s.position < 0 || s.position > std::numeric_limits<int32_t>::max() - s.row_count) {
      return Bad(op, ".sequences: position ", s.position, " is out of range");
    }
    next += s.row_count;
  }
  if (next != rows) {
    return Bad(op, ".sequences cover ", next, " rows, the matrix has ", rows);
  }
  return absl::OkStatus();
}

absl::Status CheckKv(absl::string_view op, const PagedKvView& kv,
                     absl::Span<const SequenceRows> sequences) {
  const KvGeometry& g = kv.geometry;
  if (kv.layer_base == nullptr) return Bad(op, ".kv.layer_base is null");
  if (kv.blocks < 1) return Bad(op, ".kv.blocks is ", kv.blocks, ", needs at least 1");
  if (g.block_tokens != 16 && g.block_tokens != 32 && g.block_tokens != 64) {
    return Bad(op, ".kv.block_tokens is ", g.block_tokens, ", needs 16, 32 or 64");
  }
  if (g.kv_heads < 1 || g.head_dim < 1) {
    return Bad(op, ".kv has ", g.kv_heads, " heads of ", g.head_dim,
               ", needs at least one head of at least one dimension");
  }
  if (g.latent_dim < 0 || g.latent_dim > g.head_dim) {
    return Bad(op, ".kv.latent_dim is ", g.latent_dim, ", needs 0 to ", g.head_dim);
  }
  if (g.dtype != DType::kF16 && g.dtype != DType::kBF16 && g.dtype != DType::kF32) {
    return Bad(op, ".kv.dtype is ", DTypeName(g.dtype), ", needs f16, bf16 or f32");
  }
  if (kv.block_stride_bytes != 0 && kv.block_stride_bytes < g.BlockLayerBytes()) {
    return Bad(op, ".kv.block_stride_bytes is ", kv.block_stride_bytes, ", needs 0 or at least ",
               g.BlockLayerBytes());
  }
  for (const SequenceRows& s : sequences) {
    const int64_t tokens = s.position + s.row_count;
    const int64_t needed = (tokens + g.block_tokens - 1) / g.block_tokens;
    if (s.block_table == nullptr || s.block_count < needed) {
      return Bad(op, ".sequences: ", tokens, " tokens need ", needed, " blocks, the table has ",
                 s.block_table == nullptr ? 0 : s.block_count);
    }
    for (int64_t i = 0; i < needed; ++i) {
      if (s.block_table[i] < 0 || s.block_table[i] >= kv.blocks) {
        return Bad(op, ".sequences: block ", s.block_table[i], " is not one of ", kv.blocks);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const EmbedArgs& args) {
  if (args.table == nullptr) return Bad("embed.table is null");
  if (args.ids.empty()) return Bad("embed.ids is empty");
  BATON_RETURN_IF_ERROR(
      CheckShape("embed.out", args.out, static_cast<int64_t>(args.ids.size()), args.table->cols()));
  if (!(args.scale > 0 && args.scale <= std::numeric_limits<float>::max())) {
    return Bad("embed.scale is ", args.scale, ", needs a positive number");
  }
  for (const int32_t id : args.ids) {
    if (id < 0 || id >= args.table->rows()) {
      return Bad("embed.ids: ", id, " is outside the table of ", args.table->rows());
    }
  }
  return absl::OkStatus();
}

absl::Status Validate(const RmsNormArgs& args) {
  BATON_RETURN_IF_ERROR(CheckMatrix("rms_norm.in", args.in));
  BATON_RETURN_IF_ERROR(CheckShape("rms_norm.out", args.out, args.in.rows, args.in.cols));
  if (args.norm.gain == nullptr) return Bad("rms_norm.norm.gain is null");
  return CheckNorm("rms_norm", args.norm);
}

absl::Status Validate(const LinearArgs& args) {
  BATON_RETURN_IF_ERROR(CheckMatrix("linear.in", args.in));
  BATON_RETURN_IF_ERROR(CheckNorm("linear", args.norm));
  if (args.parts.empty() || args.parts.size() > 4) {
    return Bad("linear.parts has ", args.parts.size(), " parts, needs 1 to 4");
  }
  for (const LinearArgs::Part& part : args.parts) {
    BATON_RETURN_IF_ERROR(CheckWeight("linear.weight", part.weight, args.in.cols));
    BATON_RETURN_IF_ERROR(CheckShape("linear.out", part.out, args.in.rows, part.weight->rows()));
  }
  return absl::OkStatus();
}

absl::Status Validate(const GatedLinearArgs& args) {
  BATON_RETURN_IF_ERROR(CheckMatrix("gated_linear.in", args.in));
  BATON_RETURN_IF_ERROR(CheckNorm("gated_linear", args.norm));
  BATON_RETURN_IF_ERROR(CheckWeight("gated_linear.gate", args.gate, args.in.cols));
  BATON_RETURN_IF_ERROR(CheckWeight("gated_linear.up", args.up, args.in.cols));
  if (args.gate->rows() != args.up->rows()) {
    return Bad("gated_linear: gate has ", args.gate->rows(), " rows, up has ", args.up->rows());
  }
  return CheckShape("gated_linear.out", args.out, args.in.rows, args.gate->rows());
}

absl::Status Validate(const RopeArgs& args) {
  BATON_RETURN_IF_ERROR(CheckMatrix("rope.x", args.x));
  BATON_RETURN_IF_ERROR(CheckMatrix("rope.table", args.table));
  if (args.head_dim < 1 || args.x.cols % args.head_dim != 0) {
    return Bad("rope.head_dim is ", args.head_dim, ", x has ", args.x.cols, " columns");
  }
  if (args.rotary_dim < 2 || args.rotary_dim % 2 != 0 || args.rotary_dim > args.head_dim) {
    return Bad("rope.rotary_dim is ", args.rotary_dim, ", needs an even number from 2 to ",
               args.head_dim);
  }
  if (args.table.cols != args.rotary_dim) {
    return Bad("rope.table has ", args.table.cols, " columns, needs ", args.rotary_dim);
  }
  BATON_RETURN_IF_ERROR(CheckRows("rope", args.sequences, args.x.rows));
  for (const SequenceRows& s : args.sequences) {
    if (s.position + s.row_count > args.table.rows) {
      return Bad("rope: position ", s.position + s.row_count - 1, " is beyond the table of ",
                 args.table.rows);
    }
  }
  return absl::OkStatus();
}

absl::Status Validate(const AppendKvArgs& args) {
  BATON_RETURN_IF_ERROR(CheckMatrix("append_kv.key", args.key));
  BATON_RETURN_IF_ERROR(CheckRows("append_kv", args.sequences, args.key.rows));
  BATON_RETURN_IF_ERROR(CheckKv("append_kv", args.kv, args.sequences));
  const int64_t cols = int64_t{args.kv.geometry.kv_heads} * args.kv.geometry.head_dim;
  BATON_RETURN_IF_ERROR(CheckShape("append_kv.key", args.key, args.key.rows, cols));
  if (args.kv.geometry.latent_dim > 0) return absl::OkStatus();
  return CheckShape("append_kv.value", args.value, args.key.rows, cols);
}

absl::Status Validate(const AttentionArgs& args) {
  BATON_RETURN_IF_ERROR(CheckMatrix("attention.query", args.query));
  BATON_RETURN_IF_ERROR(CheckRows("attention", args.sequences, args.query.rows));
  BATON_RETURN_IF_ERROR(CheckKv("attention", args.kv, args.sequences));
  const KvGeometry& g = args.kv.geometry;
  if (args.query_heads < 1 || args.query_heads % g.kv_heads != 0) {
    return Bad("attention.query_heads is ", args.query_heads, ", needs a multiple of ", g.kv_heads,
               " kv heads");
  }
  if (!(args.scale > 0 && args.scale <= std::numeric_limits<float>::max())) {
    return Bad("attention.scale is ", args.scale, ", needs a positive number");
  }
  if (args.window < 0) {
    return Bad("attention.window is ", args.window, ", needs 0 (none) or more");
  }
  const int64_t cols = int64_t{args.query_heads} * g.head_dim;
  BATON_RETURN_IF_ERROR(CheckShape("attention.query", args.query, args.query.rows, cols));
  return CheckShape("attention.out", args.out, args.query.rows,
                    int64_t{args.query_heads} * g.value_dim());
}

absl::Status Validate(const GatherRowsArgs& args) {
  BATON_RETURN_IF_ERROR(CheckMatrix("gather_rows.in", args.in));
  if (args.rows.empty()) return Bad("gather_rows.rows is empty");
  for (const int32_t row : args.rows) {
    if (row < 0 || row >= args.in.rows) {
      return Bad("gather_rows.rows: ", row, " is not one of ", args.in.rows);
    }
  }
  return CheckShape("gather_rows.out", args.out, static_cast<int64_t>(args.rows.size()),
                    args.in.cols);
}

absl::Status Validate(const HeadLinearArgs& args) {
  BATON_RETURN_IF_ERROR(CheckMatrix("head_linear.in", args.in));
  BATON_RETURN_IF_ERROR(CheckMatrix("head_linear.out", args.out));
  if (args.out.rows != args.in.rows) {
    return Bad("head_linear.out has ", args.out.rows, " rows, needs ", args.in.rows);
  }
  if (args.weights.empty()) return Bad("head_linear.weights is empty");
  for (const Weight* weight : args.weights) {
    if (weight == nullptr) return Bad("head_linear.weights has a null");
    if (weight->rows() != args.weights[0]->rows() || weight->cols() != args.weights[0]->cols()) {
      return Bad("head_linear.weights differ in shape");
    }
  }
  const int64_t heads = static_cast<int64_t>(args.weights.size());
  BATON_RETURN_IF_ERROR(
      CheckHeads("head_linear.in", args.in, args.in_step, heads, args.weights[0]->cols()));
  return CheckHeads("head_linear.out", args.out, args.out_step, heads, args.weights[0]->rows());
}

absl::Status Validate(const CopyHeadsArgs& args) {
  BATON_RETURN_IF_ERROR(CheckMatrix("copy_heads.in", args.in));
  BATON_RETURN_IF_ERROR(CheckMatrix("copy_heads.out", args.out));
  if (args.out.rows != args.in.rows || args.heads < 1 || args.cols < 1) {
    return Bad("copy_heads: ", args.heads, " heads of ", args.cols, " from ", args.in.rows, " to ",
               args.out.rows, " rows, needs at least 1 and equal rows");
  }
  BATON_RETURN_IF_ERROR(CheckHeads("copy_heads.in", args.in, args.in_step, args.heads, args.cols));
  return CheckHeads("copy_heads.out", args.out, args.out_step, args.heads, args.cols);
}

absl::Status Validate(const ExpertsArgs& args) {
  BATON_RETURN_IF_ERROR(CheckMatrix("experts.in", args.in));
  BATON_RETURN_IF_ERROR(CheckNorm("experts", args.norm));
  if (args.experts.empty()) return Bad("experts.experts is empty");
  const Expert& first = args.experts[0];
  for (const Expert& expert : args.experts) {
    BATON_RETURN_IF_ERROR(CheckWeight("experts.gate", expert.gate, args.in.cols));
    BATON_RETURN_IF_ERROR(CheckWeight("experts.up", expert.up, args.in.cols));
    BATON_RETURN_IF_ERROR(CheckWeight("experts.down", expert.down, expert.gate->rows()));
    if (expert.up->rows() != expert.gate->rows() || expert.gate->rows() != first.gate->rows() ||
        expert.down->rows() != first.down->rows()) {
      return Bad("experts: weights differ in shape");
    }
  }
  BATON_RETURN_IF_ERROR(CheckShape("experts.out", args.out, args.in.rows, first.down->rows()));
  const int64_t pairs = args.in.rows * args.experts_per_row;
  if (args.experts_per_row < 1 || static_cast<int64_t>(args.chosen.size()) != pairs ||
      static_cast<int64_t>(args.weights.size()) != pairs) {
    return Bad("experts: ", args.chosen.size(), " chosen and ", args.weights.size(),
               " weights, needs ", args.experts_per_row, " (at least 1) for each of ", args.in.rows,
               " rows");
  }
  for (const int32_t expert : args.chosen) {
    if (expert < 0 || expert >= static_cast<int64_t>(args.experts.size())) {
      return Bad("experts.chosen: ", expert, " is not one of ", args.experts.size());
    }
  }
  if (args.activation == ExpertActivation::kClampedSwiglu && !(args.limit > 0)) {
    return Bad("experts.limit is ", args.limit, ", needs a number above 0");
  }
  return absl::OkStatus();
}

absl::Status Validate(const StoredTensor& stored) {
  if (stored.data == nullptr) return Bad("prepare: data is null");
  if (stored.dtype == DType::kI32) return Bad("prepare: dtype i32 is not a weight");
  if (stored.rows < 1 || stored.cols < 1 || stored.rows > kColsMax || stored.cols > kColsMax) {
    return Bad("prepare: shape [", stored.rows, ", ", stored.cols, "] is out of range");
  }
  if (stored.cols % BlockElements(stored.dtype) != 0) {
    return Bad("prepare: ", stored.cols, " columns of ", DTypeName(stored.dtype),
               " are not whole blocks of ", BlockElements(stored.dtype));
  }
  return absl::OkStatus();
}

}  // namespace baton::device
