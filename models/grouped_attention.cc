#include "models/grouped_attention.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

struct GroupedWeights {
  device::Buffer norm, output_norm;                   // [hidden], or empty
  std::unique_ptr<device::Weight> query, key, value;  // [heads * head_dim, hidden]
  std::unique_ptr<device::Weight> output;             // [hidden, query_heads * head_dim]
  device::Buffer query_bias, key_bias, value_bias, output_bias;
  device::Buffer query_norm, key_norm;  // [head_dim] or [heads * head_dim]
  device::Buffer sinks;                 // [query_heads]
};

class GroupedAttention final : public AttentionLayer {
 public:
  GroupedAttention(DecoderContext& context, GroupedWeights weights, int64_t window, float scale,
                   bool norm_each_head)
      : context_(context),
        weights_(std::move(weights)),
        window_(window),
        scale_(scale),
        norm_each_head_(norm_each_head) {}

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
    BATON_RETURN_IF_ERROR(context_.device.Attention({.query = rows.query,
                                                     .kv = kv,
                                                     .sequences = rows.sequences,
                                                     .query_heads = config.query_heads,
                                                     .scale = scale_,
                                                     .out = attended,
                                                     .sinks = weights_.sinks.floats(),
                                                     .window = window_}));
    return AddLinear(context_, *weights_.output, weights_.output_bias.floats(), attended,
                     weights_.output_norm, rows.x);
  }

 private:
  absl::Status NormAndRotate(const device::MatrixView& heads, const device::Buffer& gain,
                             const StepRows& rows) {
    const ModelConfig& config = context_.config;
    if (gain.data() != nullptr) {
      // The matrix is dense, so every head is a row of its own.
      const int64_t cols = norm_each_head_ ? config.head_dim : heads.cols;
      const device::MatrixView each{heads.data, heads.rows * (heads.cols / cols), cols, cols};
      BATON_RETURN_IF_ERROR(context_.device.RmsNorm(
          {.in = each, .norm = {gain.floats(), config.norm_epsilon}, .out = each}));
    }
    return context_.device.Rope({.x = heads,
                                 .head_dim = config.head_dim,
                                 .rotary_dim = config.rope.rotary_dim,
                                 .style = config.rope.style,
                                 .table = context_.RopeOf(window_).view(),
                                 .sequences = rows.sequences});
  }

  DecoderContext& context_;
  GroupedWeights weights_;
  int64_t window_;
  float scale_;
  bool norm_each_head_;
};

absl::Status LoadProjections(WeightLoader& loader, const ModelConfig& config,
                             const std::string& attention, bool fused, GroupedWeights& w) {
  const int64_t query_rows = int64_t{config.query_heads} * config.head_dim;
  const int64_t kv_rows = int64_t{config.kv_heads} * config.head_dim;
  const auto load = [&](const char* name, int64_t rows, int64_t first) {
    if (!fused) return loader.Matrix(absl::StrCat(attention, name, ".weight"), rows, config.hidden);
    return loader.MatrixRows(attention + "qkv_proj.weight", query_rows + 2 * kv_rows, config.hidden,
                             first, rows);
  };
  BATON_ASSIGN_OR_RETURN(w.query, load("q_proj", query_rows, 0));
  BATON_ASSIGN_OR_RETURN(w.key, load("k_proj", kv_rows, query_rows));
  BATON_ASSIGN_OR_RETURN(w.value, load("v_proj", kv_rows, query_rows + kv_rows));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<AttentionLayer>> LoadGroupedAttention(
    WeightLoader& loader, DecoderContext& context, const std::string& prefix,
    const GroupedAttentionOptions& options) {
  const ModelConfig& config = context.config;
  const int64_t query_cols = int64_t{config.query_heads} * config.head_dim;
  const int64_t kv_cols = int64_t{config.kv_heads} * config.head_dim;
  const std::string attention = prefix + "self_attn.";
  const auto vector = [&](bool wanted, const char* name,
                          int64_t size) -> absl::StatusOr<device::Buffer> {
    if (!wanted) return device::Buffer();
    return loader.Vector(attention + name, size);
  };
  const auto norm = [&](bool wanted, const std::string& name,
                        int64_t size) -> absl::StatusOr<device::Buffer> {
    if (!wanted) return device::Buffer();
    return loader.Norm(name, size);
  };
  GroupedWeights w;
  BATON_ASSIGN_OR_RETURN(w.norm, norm(!options.norm.empty(), prefix + options.norm, config.hidden));
  BATON_RETURN_IF_ERROR(LoadProjections(loader, config, attention, options.fused, w));
  BATON_ASSIGN_OR_RETURN(w.output,
                         loader.Matrix(attention + "o_proj.weight", config.hidden, query_cols));
  BATON_ASSIGN_OR_RETURN(w.query_bias, vector(options.input_biases, "q_proj.bias", query_cols));
  BATON_ASSIGN_OR_RETURN(w.key_bias, vector(options.input_biases, "k_proj.bias", kv_cols));
  BATON_ASSIGN_OR_RETURN(w.value_bias, vector(options.input_biases, "v_proj.bias", kv_cols));
  BATON_ASSIGN_OR_RETURN(w.output_bias, vector(options.output_bias, "o_proj.bias", config.hidden));
  const bool head_norms = options.head_norms != HeadNorms::kNone;
  const bool each_head = options.head_norms == HeadNorms::kPerHead;
  BATON_ASSIGN_OR_RETURN(w.query_norm, norm(head_norms, attention + "q_norm.weight",
                                            each_head ? config.head_dim : query_cols));
  BATON_ASSIGN_OR_RETURN(w.key_norm, norm(head_norms, attention + "k_norm.weight",
                                          each_head ? config.head_dim : kv_cols));
  BATON_ASSIGN_OR_RETURN(w.sinks, vector(options.sinks, "sinks", config.query_heads));
  BATON_ASSIGN_OR_RETURN(w.output_norm, norm(!options.output_norm.empty(),
                                             prefix + options.output_norm, config.hidden));
  BATON_RETURN_IF_ERROR(context.memory.Reserve(Scratch::kKey, kv_cols));
  BATON_RETURN_IF_ERROR(context.memory.Reserve(Scratch::kValue, kv_cols));
  BATON_RETURN_IF_ERROR(context.memory.Reserve(Scratch::kAttended, query_cols));
  if (!options.output_norm.empty()) {
    BATON_RETURN_IF_ERROR(context.memory.Reserve(Scratch::kProjected, config.hidden));
  }
  const float scale =
      options.scale > 0 ? options.scale : 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  return std::make_unique<GroupedAttention>(context, std::move(w), options.window, scale,
                                            each_head);
}

}  // namespace baton::models
