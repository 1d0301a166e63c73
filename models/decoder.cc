#include "models/decoder.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

constexpr int32_t kMaxBatchTokens = 1 << 16;

device::SequenceRows RowsOf(const ForwardSequence& sequence, int64_t row_begin) {
  return {.row_begin = static_cast<int32_t>(row_begin),
          .row_count = static_cast<int32_t>(sequence.tokens.size()),
          .position = sequence.position,
          .block_table = sequence.block_table.data(),
          .block_count = static_cast<int32_t>(sequence.block_table.size())};
}

int64_t RowsWanted(const ForwardSequence& sequence) {
  if (sequence.logits == LogitRows::kNone) return 0;
  return sequence.logits == LogitRows::kLast ? 1 : static_cast<int64_t>(sequence.tokens.size());
}

}  // namespace

absl::Status AddLinear(DecoderContext& context, const device::Weight& weight, const float* bias,
                       const device::ConstMatrixView& in, const device::Buffer& norm,
                       const device::MatrixView& x) {
  if (norm.data() == nullptr) {
    const device::LinearArgs::Part part{
        .weight = &weight, .bias = bias, .out = x, .accumulate = true};
    return context.device.Linear({.in = in, .parts = {&part, 1}});
  }
  const device::MatrixView projected = context.memory.Get(Scratch::kProjected, x.rows, x.cols);
  const device::LinearArgs::Part part{.weight = &weight, .bias = bias, .out = projected};
  BATON_RETURN_IF_ERROR(context.device.Linear({.in = in, .parts = {&part, 1}}));
  return context.device.RmsNorm({.in = projected,
                                 .norm = {norm.floats(), context.config.norm_epsilon},
                                 .out = x,
                                 .accumulate = true});
}

absl::StatusOr<std::unique_ptr<DecoderContext>> Decoder::MakeContext(const ModelConfig& config,
                                                                     device::Device& device,
                                                                     const LoadOptions& options) {
  if (options.max_batch_tokens < 1 || options.max_batch_tokens > kMaxBatchTokens) {
    return absl::InvalidArgumentError(absl::StrCat("max_batch_tokens is ", options.max_batch_tokens,
                                                   ", allowed are 1 to ", kMaxBatchTokens));
  }
  return std::make_unique<DecoderContext>(config, device, options.max_batch_tokens);
}

absl::StatusOr<std::unique_ptr<Model>> Decoder::Create(std::unique_ptr<DecoderContext> context,
                                                       DecoderWeights weights,
                                                       const LoadOptions& options) {
  std::unique_ptr<Decoder> decoder(
      new Decoder(std::move(context), std::move(weights), options.max_batch_tokens));
  DecoderContext& made = *decoder->context_;
  BATON_RETURN_IF_ERROR(made.memory.Reserve(Scratch::kResidual, made.config.hidden));
  for (const DecoderLayer& layer : decoder->weights_.layers) {
    BATON_RETURN_IF_ERROR(made.memory.Reserve(Scratch::kQuery, layer.attention->query_cols()));
  }
  BATON_RETURN_IF_ERROR(decoder->ReserveRows(1));
  BATON_RETURN_IF_ERROR(decoder->ReserveLogits(1));
  return decoder;
}

Decoder::Decoder(std::unique_ptr<DecoderContext> context, DecoderWeights weights,
                 int32_t max_batch_tokens)
    : context_(std::move(context)),
      weights_(std::move(weights)),
      max_batch_tokens_(max_batch_tokens) {}

absl::Status Decoder::ReserveRows(int64_t rows) {
  if (rows <= row_capacity_) return absl::OkStatus();
  const int64_t capacity = std::min<int64_t>(max_batch_tokens_, std::max(rows, 2 * row_capacity_));
  const auto allocate = [&](int64_t cols) {
    return context_->device.Allocate(capacity * cols * sizeof(float));
  };
  BATON_ASSIGN_OR_RETURN(wanted_x_, allocate(context_->config.hidden));
  BATON_ASSIGN_OR_RETURN(wanted_query_, allocate(weights_.layers.back().attention->query_cols()));
  BATON_ASSIGN_OR_RETURN(hidden_x_, allocate(context_->config.hidden));
  row_capacity_ = capacity;
  return absl::OkStatus();
}

absl::Status Decoder::ReserveLogits(int64_t rows) {
  if (rows <= logit_capacity_) return absl::OkStatus();
  const int64_t capacity =
      std::min<int64_t>(max_batch_tokens_, std::max(rows, 2 * logit_capacity_));
  BATON_ASSIGN_OR_RETURN(
      logits_, context_->device.Allocate(capacity * context_->config.vocab_size * sizeof(float)));
  logit_capacity_ = capacity;
  return absl::OkStatus();
}

absl::Status Decoder::CheckSequence(const ForwardSequence& sequence) const {
  const ModelConfig& config = context_->config;
  const int64_t count = static_cast<int64_t>(sequence.tokens.size());
  if (count < 1) return absl::InvalidArgumentError("forward: a sequence without tokens");
  if (sequence.position < 0 || sequence.position > config.context_length - count) {
    return absl::InvalidArgumentError(absl::StrCat("forward: ", count, " tokens from position ",
                                                   sequence.position, " are beyond the context of ",
                                                   config.context_length));
  }
  const int64_t rows = RowsWanted(sequence) * config.hidden;
  if (!sequence.hidden.empty() && static_cast<int64_t>(sequence.hidden.size()) != rows) {
    return absl::InvalidArgumentError(absl::StrCat("forward: room for ", sequence.hidden.size(),
                                                   " numbers of hidden states, needed ", rows));
  }
  for (const int32_t id : sequence.tokens) {
    if (id < 0 || id >= config.vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("forward: token ", id, " is outside the vocabulary of ", config.vocab_size));
    }
  }
  return absl::OkStatus();
}

absl::Status Decoder::CheckBatch(const ForwardBatch& batch, int64_t* tokens,
                                 int64_t* positions) const {
  const ModelConfig& config = context_->config;
  if (batch.sequences.empty()) return absl::InvalidArgumentError("forward: the batch is empty");
  if (static_cast<int64_t>(batch.kv.size()) != config.layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("forward: kv has ", batch.kv.size(), " layers, the model ", config.layers));
  }
  const device::KvGeometry& geometry = batch.kv[0].geometry;
  if (geometry.kv_heads != config.kv_heads || geometry.head_dim != config.head_dim ||
      geometry.latent_dim != config.kv_latent_dim) {
    return absl::InvalidArgumentError(
        absl::StrCat("forward: kv has ", geometry.kv_heads, " heads of ", geometry.head_dim,
                     " (latent ", geometry.latent_dim, "), the model ", config.kv_heads, " of ",
                     config.head_dim, " (latent ", config.kv_latent_dim, ")"));
  }
  *tokens = 0;
  *positions = 0;
  for (const ForwardSequence& sequence : batch.sequences) {
    BATON_RETURN_IF_ERROR(CheckSequence(sequence));
    const int64_t count = static_cast<int64_t>(sequence.tokens.size());
    *tokens += count;
    *positions = std::max(*positions, sequence.position + count);
  }
  if (*tokens > max_batch_tokens_) {
    return absl::InvalidArgumentError(absl::StrCat("forward: the batch has ", *tokens,
                                                   " tokens, allowed are ", max_batch_tokens_));
  }
  return absl::OkStatus();
}

absl::Status Decoder::Forward(const ForwardBatch& batch, device::ConstMatrixView* logits) {
  int64_t tokens = 0, positions = 0;
  BATON_RETURN_IF_ERROR(CheckBatch(batch, &tokens, &positions));
  BATON_RETURN_IF_ERROR(context_->rope.Cover(positions));
  if (context_->window_rope.has_value()) {
    BATON_RETURN_IF_ERROR(context_->window_rope->Cover(positions));
  }
  const ModelConfig& config = context_->config;
  StepRows rows{.x = context_->memory.Get(Scratch::kResidual, tokens, config.hidden)};
  ids_.clear();
  for (const ForwardSequence& sequence : batch.sequences) {
    rows.sequences.push_back(RowsOf(sequence, static_cast<int64_t>(ids_.size())));
    ids_.insert(ids_.end(), sequence.tokens.begin(), sequence.tokens.end());
  }
  BATON_RETURN_IF_ERROR(context_->device.Embed({.table = weights_.embedding.get(),
                                                .ids = ids_,
                                                .out = rows.x,
                                                .scale = weights_.embedding_scale}));
  for (int32_t i = 0; i < config.layers; ++i) {
    const DecoderLayer& layer = weights_.layers[i];
    rows.query = context_->memory.Get(Scratch::kQuery, tokens, layer.attention->query_cols());
    BATON_RETURN_IF_ERROR(layer.attention->WriteKv(rows, batch.kv[i]));
    if (batch.on_layer_written) batch.on_layer_written(i);
    if (i == config.layers - 1) {
      // Nobody reads the other rows from here on.
      BATON_ASSIGN_OR_RETURN(rows, OnlyWantedRows(batch, rows));
      if (rows.x.rows == 0) break;
    }
    BATON_RETURN_IF_ERROR(layer.attention->Attend(rows, batch.kv[i]));
    BATON_RETURN_IF_ERROR(layer.feed_forward->Add(rows.x));
  }
  BATON_RETURN_IF_ERROR(TakeHidden(batch, &rows));
  BATON_RETURN_IF_ERROR(ReserveLogits(rows.x.rows));
  const device::MatrixView out = logits_.matrix(rows.x.rows, config.vocab_size);
  *logits = out;
  if (rows.x.rows == 0) return absl::OkStatus();
  const device::Weight& output = weights_.output ? *weights_.output : *weights_.embedding;
  const device::LinearArgs::Part part{.weight = &output, .out = out};
  return context_->device.Linear(
      {.in = rows.x,
       .norm = {.gain = weights_.output_norm.floats(), .epsilon = config.norm_epsilon},
       .parts = {&part, 1}});
}

absl::Status Decoder::TakeHidden(const ForwardBatch& batch, StepRows* rows) {
  std::vector<int32_t> hidden, others;
  for (size_t s = 0, row = 0; s < batch.sequences.size(); ++s) {
    std::vector<int32_t>& kind = batch.sequences[s].hidden.empty() ? others : hidden;
    for (int64_t i = RowsWanted(batch.sequences[s]); i > 0; --i) {
      kind.push_back(static_cast<int32_t>(row++));
    }
  }
  if (hidden.empty()) return absl::OkStatus();
  const int64_t cols = rows->x.cols;
  device::MatrixView out = hidden_x_.matrix(static_cast<int64_t>(hidden.size()), cols);
  BATON_RETURN_IF_ERROR(context_->device.GatherRows({.in = rows->x, .rows = hidden, .out = out}));
  BATON_RETURN_IF_ERROR(context_->device.RmsNorm(
      {.in = out,
       .norm = {.gain = weights_.output_norm.floats(), .epsilon = context_->config.norm_epsilon},
       .out = out}));
  const float* from = out.row(0);
  for (const ForwardSequence& sequence : batch.sequences) {
    if (sequence.hidden.empty()) continue;
    BATON_RETURN_IF_ERROR(context_->device.Copy(sequence.hidden.data(), from,
                                                sequence.hidden.size() * sizeof(float)));
    from += sequence.hidden.size();
  }
  // What was gathered has been copied: its memory serves for the rest.
  out = hidden_x_.matrix(static_cast<int64_t>(others.size()), cols);
  if (!others.empty()) {
    BATON_RETURN_IF_ERROR(context_->device.GatherRows({.in = rows->x, .rows = others, .out = out}));
  }
  rows->x = out;
  return absl::OkStatus();
}

absl::StatusOr<StepRows> Decoder::OnlyWantedRows(const ForwardBatch& batch, const StepRows& all) {
  StepRows only;
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
  BATON_RETURN_IF_ERROR(ReserveRows(count));
  if (count == all.x.rows) return all;
  only.x = wanted_x_.matrix(count, all.x.cols);
  only.query = wanted_query_.matrix(count, all.query.cols);
  if (count == 0) return only;
  BATON_RETURN_IF_ERROR(context_->device.GatherRows({.in = all.x, .rows = kept, .out = only.x}));
  BATON_RETURN_IF_ERROR(
      context_->device.GatherRows({.in = all.query, .rows = kept, .out = only.query}));
  return only;
}

}  // namespace baton::models
