#include "models/llama.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

constexpr int32_t kMaxBatchTokens = 1 << 16;

int64_t QueryCols(const ModelConfig& config) {
  return int64_t{config.query_heads} * config.head_dim;
}
int64_t KvCols(const ModelConfig& config) { return int64_t{config.kv_heads} * config.head_dim; }

device::SequenceRows RowsOf(const ForwardSequence& sequence, int64_t row_begin) {
  return {.row_begin = static_cast<int32_t>(row_begin),
          .row_count = static_cast<int32_t>(sequence.tokens.size()),
          .position = sequence.position,
          .block_table = sequence.block_table.data(),
          .block_count = static_cast<int32_t>(sequence.block_table.size())};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LlamaModel::Load(const Checkpoint& checkpoint,
                                                        const ModelConfig& config,
                                                        device::Device& device,
                                                        const LoadOptions& options) {
  if (options.max_batch_tokens < 1 || options.max_batch_tokens > kMaxBatchTokens) {
    return absl::InvalidArgumentError(absl::StrCat("max_batch_tokens is ", options.max_batch_tokens,
                                                   ", allowed are 1 to ", kMaxBatchTokens));
  }
  BATON_ASSIGN_OR_RETURN(LlamaWeights weights,
                         LoadLlamaWeights(checkpoint, config, device, options.on_progress));
  std::unique_ptr<LlamaModel> model(
      new LlamaModel(config, std::move(weights), device, options.max_batch_tokens));
  BATON_RETURN_IF_ERROR(model->AllocateScratch());
  return model;
}

LlamaModel::LlamaModel(const ModelConfig& config, LlamaWeights weights, device::Device& device,
                       int32_t max_batch_tokens)
    : config_(config),
      weights_(std::move(weights)),
      device_(device),
      max_batch_tokens_(max_batch_tokens),
      rope_(config.rope, config.context_length, device) {}

absl::Status LlamaModel::AllocateScratch() {
  const auto allocate = [&](int64_t cols) {
    return device_.Allocate(int64_t{max_batch_tokens_} * cols * sizeof(float));
  };
  BATON_ASSIGN_OR_RETURN(x_, allocate(config_.hidden));
  BATON_ASSIGN_OR_RETURN(query_, allocate(QueryCols(config_)));
  BATON_ASSIGN_OR_RETURN(key_, allocate(KvCols(config_)));
  BATON_ASSIGN_OR_RETURN(value_, allocate(KvCols(config_)));
  BATON_ASSIGN_OR_RETURN(attended_, allocate(QueryCols(config_)));
  BATON_ASSIGN_OR_RETURN(gated_, allocate(config_.intermediate));
  return ReserveLogits(1);
}

absl::Status LlamaModel::ReserveLogits(int64_t rows) {
  if (rows <= logit_capacity_) return absl::OkStatus();
  const int64_t capacity =
      std::min<int64_t>(max_batch_tokens_, std::max(rows, 2 * logit_capacity_));
  BATON_ASSIGN_OR_RETURN(logit_x_, device_.Allocate(capacity * config_.hidden * sizeof(float)));
  BATON_ASSIGN_OR_RETURN(logit_query_,
                         device_.Allocate(capacity * QueryCols(config_) * sizeof(float)));
  BATON_ASSIGN_OR_RETURN(logits_, device_.Allocate(capacity * config_.vocab_size * sizeof(float)));
  logit_capacity_ = capacity;
  return absl::OkStatus();
}

absl::Status LlamaModel::CheckBatch(const ForwardBatch& batch, int64_t* tokens,
                                    int64_t* positions) const {
  if (batch.sequences.empty()) return absl::InvalidArgumentError("forward: the batch is empty");
  if (static_cast<int64_t>(batch.kv.size()) != config_.layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("forward: kv has ", batch.kv.size(), " layers, the model ", config_.layers));
  }
  const device::KvGeometry& geometry = batch.kv[0].geometry;
  if (geometry.kv_heads != config_.kv_heads || geometry.head_dim != config_.head_dim) {
    return absl::InvalidArgumentError(absl::StrCat("forward: kv has ", geometry.kv_heads,
                                                   " heads of ", geometry.head_dim, ", the model ",
                                                   config_.kv_heads, " of ", config_.head_dim));
  }
  *tokens = 0;
  *positions = 0;
  for (const ForwardSequence& sequence : batch.sequences) {
    const int64_t count = static_cast<int64_t>(sequence.tokens.size());
    if (count < 1) return absl::InvalidArgumentError("forward: a sequence without tokens");
    if (sequence.position < 0 || sequence.position > config_.context_length - count) {
      return absl::InvalidArgumentError(
          absl::StrCat("forward: ", count, " tokens from position ", sequence.position,
                       " are beyond the context of ", config_.context_length));
    }
    for (const int32_t id : sequence.tokens) {
      if (id < 0 || id >= config_.vocab_size) {
        return absl::InvalidArgumentError(absl::StrCat(
            "forward: token ", id, " is outside the vocabulary of ", config_.vocab_size));
      }
    }
    *tokens += count;
    *positions = std::max(*positions, sequence.position + count);
  }
  if (*tokens > max_batch_tokens_) {
    return absl::InvalidArgumentError(absl::StrCat("forward: the batch has ", *tokens,
                                                   " tokens, allowed are ", max_batch_tokens_));
  }
  return absl::OkStatus();
}

absl::Status LlamaModel::Forward(const ForwardBatch& batch, device::ConstMatrixView* logits) {
  int64_t tokens = 0, positions = 0;
  BATON_RETURN_IF_ERROR(CheckBatch(batch, &tokens, &positions));
  BATON_RETURN_IF_ERROR(rope_.Cover(positions));

  Rows rows{.x = x_.matrix(tokens, config_.hidden),
            .query = query_.matrix(tokens, QueryCols(config_))};
  int64_t row_begin = 0;
  for (const ForwardSequence& sequence : batch.sequences) {
    rows.sequences.push_back(RowsOf(sequence, row_begin));
    row_begin += rows.sequences.back().row_count;
  }
  BATON_RETURN_IF_ERROR(Embed(batch, rows.x));
  for (int32_t i = 0; i < config_.layers; ++i) {
    const LlamaLayer& layer = weights_.layers[i];
    BATON_RETURN_IF_ERROR(WriteKv(layer, batch.kv[i], rows));
    if (batch.on_layer_written) batch.on_layer_written(i);
    if (i == config_.layers - 1) {
      // Nobody reads the other rows from here on.
      BATON_ASSIGN_OR_RETURN(rows, OnlyLogitRows(batch, rows));
      if (rows.x.rows == 0) break;
    }
    BATON_RETURN_IF_ERROR(AttendAndFeedForward(layer, batch.kv[i], rows));
  }
  const device::MatrixView out = logits_.matrix(rows.x.rows, config_.vocab_size);
  *logits = out;
  if (rows.x.rows == 0) return absl::OkStatus();
  const device::LinearArgs::Part part{.weight = &weights_.logits(), .out = out};
  return device_.Linear(
      {.in = rows.x,
       .norm = {.gain = weights_.output_norm.floats(), .epsilon = config_.norm_epsilon},
       .parts = {&part, 1}});
}

absl::Status LlamaModel::Embed(const ForwardBatch& batch, const device::MatrixView& x) {
  ids_.clear();
  for (const ForwardSequence& sequence : batch.sequences) {
    ids_.insert(ids_.end(), sequence.tokens.begin(), sequence.tokens.end());
  }
  return device_.Embed({.table = weights_.embedding.get(), .ids = ids_, .out = x});
}

// Computes queries, keys and values from the normed residual, rotates queries and keys, appends
// keys and values.
absl::Status LlamaModel::WriteKv(const LlamaLayer& layer, const device::PagedKvView& kv,
                                 const Rows& rows) {
  const device::MatrixView key = key_.matrix(rows.x.rows, KvCols(config_));
  const device::MatrixView value = value_.matrix(rows.x.rows, KvCols(config_));
  const device::LinearArgs::Part parts[] = {
      {.weight = layer.query.get(), .bias = layer.query_bias.floats(), .out = rows.query},
      {.weight = layer.key.get(), .bias = layer.key_bias.floats(), .out = key},
      {.weight = layer.value.get(), .bias = layer.value_bias.floats(), .out = value}};
  BATON_RETURN_IF_ERROR(device_.Linear(
      {.in = rows.x,
       .norm = {.gain = layer.attention_norm.floats(), .epsilon = config_.norm_epsilon},
       .parts = parts}));
  for (const device::MatrixView& rotated : {rows.query, key}) {
    BATON_RETURN_IF_ERROR(device_.Rope({.x = rotated,
                                        .head_dim = config_.head_dim,
                                        .rotary_dim = config_.rope.rotary_dim,
                                        .style = config_.rope.style,
                                        .table = rope_.view(),
                                        .sequences = rows.sequences}));
  }
  return device_.AppendKv({.key = key, .value = value, .kv = kv, .sequences = rows.sequences});
}

// x += Wo attention(q, K, V);  x += Wdown (silu(Wgate norm(x)) * (Wup norm(x))).
absl::Status LlamaModel::AttendAndFeedForward(const LlamaLayer& layer,
                                              const device::PagedKvView& kv, const Rows& rows) {
  const device::MatrixView attended = attended_.matrix(rows.x.rows, QueryCols(config_));
  BATON_RETURN_IF_ERROR(
      device_.Attention({.query = rows.query,
                         .kv = kv,
                         .sequences = rows.sequences,
                         .query_heads = config_.query_heads,
                         .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim)),
                         .out = attended}));
  const device::LinearArgs::Part output{.weight = layer.attention_output.get(),
                                        .bias = layer.attention_output_bias.floats(),
                                        .out = rows.x,
                                        .accumulate = true};
  BATON_RETURN_IF_ERROR(device_.Linear({.in = attended, .parts = {&output, 1}}));

  const device::MatrixView gated = gated_.matrix(rows.x.rows, config_.intermediate);
  BATON_RETURN_IF_ERROR(device_.GatedLinear(
      {.in = rows.x,
       .norm = {.gain = layer.feed_forward_norm.floats(), .epsilon = config_.norm_epsilon},
       .gate = layer.gate.get(),
       .up = layer.up.get(),
       .out = gated}));
  const device::LinearArgs::Part down{
      .weight = layer.down.get(), .out = rows.x, .accumulate = true};
  return device_.Linear({.in = gated, .parts = {&down, 1}});
}

absl::StatusOr<LlamaModel::Rows> LlamaModel::OnlyLogitRows(const ForwardBatch& batch,
                                                           const Rows& all) {
  Rows only;
  std::vector<int32_t> kept;
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    device::SequenceRows sequence = all.sequences[s];
    if (batch.sequences[s].logits == LogitRows::kNone) continue;
    if (batch.sequences[s].logits == LogitRows::kLast) {
      const int32_t skipped = sequence.row_count - 1;
      sequence.row_begin += skipped;
      sequence.position += skipped;
      sequence.row_count = 1;
    }
    const int32_t from = sequence.row_begin;
    sequence.row_begin = static_cast<int32_t>(kept.size());
    for (int32_t r = 0; r < sequence.row_count; ++r) kept.push_back(from + r);
    only.sequences.push_back(sequence);
  }
  const int64_t count = static_cast<int64_t>(kept.size());
  BATON_RETURN_IF_ERROR(ReserveLogits(count));
  if (count == all.x.rows) return all;
  only.x = logit_x_.matrix(count, config_.hidden);
  only.query = logit_query_.matrix(count, QueryCols(config_));
  if (count == 0) return only;
  BATON_RETURN_IF_ERROR(device_.GatherRows({.in = all.x, .rows = kept, .out = only.x}));
  BATON_RETURN_IF_ERROR(device_.GatherRows({.in = all.query, .rows = kept, .out = only.query}));
  return only;
}

}  // namespace baton::models
