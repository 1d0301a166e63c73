#include "models/grouped_attention.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

struct GroupedWeights {
  device::Buffer norm;                                // [hidden]
  std::unique_ptr<device::Weight> query, key, value;  // [heads * head_dim, hidden]
  std::unique_ptr<device::Weight> output;             // [hidden, query_heads * head_dim]
  device::Buffer query_bias, key_bias, value_bias, output_bias;
  device::Buffer query_norm, key_norm;  // [head_dim]
  device::Buffer sinks;                 // [query_heads]
};

class GroupedAttention final : public AttentionLayer {
 public:
  GroupedAttention(DecoderContext& context, GroupedWeights weights, int64_t window)
      : context_(context), weights_(std::move(weights)), window_(window) {}

  int64_t query_cols() const override {
    return int64_t{context_.config.query_heads} * context_.config.head_dim;
  }

  absl::Status WriteKv(const StepRows& rows, const device::PagedKvView& kv) override {
    const ModelConfig& config = context_.config;
    const int64_t kv_cols = int64_t{config.kv_heads} * config.head_dim;
    const device::MatrixView key = context_.memory.Get(Scratch::kKey, rows.x.rows, kv_cols);
    const device::MatrixView value = context_.memory.Get(Scratch::kValue, rows.x.rows, kv_cols);
    const device::LinearArgs::Part parts[] = {
        {.weight = weights_.query.get(), .bias = weights_.query_bias.floats(), .out = rows.query},
        {.weight = weights_.key.get(), .bias = weights_.key_bias.floats(), .out = key},
        {.weight = weights_.value.get(), .bias = weights_.value_bias.floats(), .out = value}};
    BATON_RETURN_IF_ERROR(context_.device.Linear(
        {.in = rows.x,
         .norm = {.gain = weights_.norm.floats(), .epsilon = config.norm_epsilon},
         .parts = parts}));
    BATON_RETURN_IF_ERROR(NormAndRotate(rows.query, weights_.query_norm, rows));
    BATON_RETURN_IF_ERROR(NormAndRotate(key, weights_.key_norm, rows));
    return context_.device.AppendKv(
        {.key = key, .value = value, .kv = kv, .sequences = rows.sequences});
  }

  absl::Status Attend(const StepRows& rows, const device::PagedKvView& kv) override {
    const ModelConfig& config = context_.config;
    const device::MatrixView attended =
        context_.memory.Get(Scratch::kAttended, rows.x.rows, query_cols());
    BATON_RETURN_IF_ERROR(
        context_.device.Attention({.query = rows.query,
                                   .kv = kv,
                                   .sequences = rows.sequences,
                                   .query_heads = config.query_heads,
                                   .scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim)),
                                   .out = attended,
                                   .sinks = weights_.sinks.floats(),
                                   .window = window_}));
    const device::LinearArgs::Part part{.weight = weights_.output.get(),
                                        .bias = weights_.output_bias.floats(),
                                        .out = rows.x,
                                        .accumulate = true};
    return context_.device.Linear({.in = attended, .parts = {&part, 1}});
  }

 private:
  absl::Status NormAndRotate(const device::MatrixView& heads, const device::Buffer& gain,
                             const StepRows& rows) {
    const ModelConfig& config = context_.config;
    if (gain.data() != nullptr) {
      // The matrix is dense, so every head is a row of its own.
      const device::MatrixView each{heads.data, heads.rows * (heads.cols / config.head_dim),
                                    config.head_dim, config.head_dim};
      BATON_RETURN_IF_ERROR(context_.device.RmsNorm(
          {.in = each, .norm = {gain.floats(), config.norm_epsilon}, .out = each}));
    }
    return context_.device.Rope({.x = heads,
                                 .head_dim = config.head_dim,
                                 .rotary_dim = config.rope.rotary_dim,
                                 .style = config.rope.style,
                                 .table = context_.rope.view(),
                                 .sequences = rows.sequences});
  }

  DecoderContext& context_;
  GroupedWeights weights_;
  int64_t window_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AttentionLayer>> LoadGroupedAttention(
    WeightLoader& loader, DecoderContext& context, const std::string& prefix,
    const GroupedAttentionOptions& options) {
  const ModelConfig& config = context.config;
  const int64_t hidden = config.hidden;
  const int64_t query_cols = int64_t{config.query_heads} * config.head_dim;
  const int64_t kv_cols = int64_t{config.kv_heads} * config.head_dim;
  const auto matrix = [&](const char* name, int64_t rows, int64_t cols) {
    return loader.Matrix(absl::StrCat(prefix, "self_attn.", name, ".weight"), rows, cols);
  };
  const auto vector = [&](bool wanted, const char* name,
                          int64_t size) -> absl::StatusOr<device::Buffer> {
    if (!wanted) return device::Buffer();
    return loader.Vector(absl::StrCat(prefix, "self_attn.", name), size);
  };
  GroupedWeights w;
  BATON_ASSIGN_OR_RETURN(w.norm,
                         loader.Vector(absl::StrCat(prefix, "input_layernorm.weight"), hidden));
  BATON_ASSIGN_OR_RETURN(w.query, matrix("q_proj", query_cols, hidden));
  BATON_ASSIGN_OR_RETURN(w.key, matrix("k_proj", kv_cols, hidden));
  BATON_ASSIGN_OR_RETURN(w.value, matrix("v_proj", kv_cols, hidden));
  BATON_ASSIGN_OR_RETURN(w.output, matrix("o_proj", hidden, query_cols));
  BATON_ASSIGN_OR_RETURN(w.query_bias, vector(options.biases, "q_proj.bias", query_cols));
  BATON_ASSIGN_OR_RETURN(w.key_bias, vector(options.biases, "k_proj.bias", kv_cols));
  BATON_ASSIGN_OR_RETURN(w.value_bias, vector(options.biases, "v_proj.bias", kv_cols));
  BATON_ASSIGN_OR_RETURN(w.output_bias, vector(options.biases, "o_proj.bias", hidden));
  BATON_ASSIGN_OR_RETURN(w.query_norm,
                         vector(options.head_norms, "q_norm.weight", config.head_dim));
  BATON_ASSIGN_OR_RETURN(w.key_norm, vector(options.head_norms, "k_norm.weight", config.head_dim));
  BATON_ASSIGN_OR_RETURN(w.sinks, vector(options.sinks, "sinks", config.query_heads));
  BATON_RETURN_IF_ERROR(context.memory.Reserve(Scratch::kKey, kv_cols));
  BATON_RETURN_IF_ERROR(context.memory.Reserve(Scratch::kValue, kv_cols));
  BATON_RETURN_IF_ERROR(context.memory.Reserve(Scratch::kAttended, query_cols));
  return std::make_unique<GroupedAttention>(context, std::move(w), options.window);
}

}  // namespace baton::models
