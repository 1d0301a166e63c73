#include "device/plugin/plugin_args.h"

namespace baton::device {
namespace {

// Inputs are not written; C has one matrix type for both.
baton_matrix ToC(const ConstMatrixView& m) {
  return {const_cast<float*>(m.data), m.rows, m.cols, m.stride};
}

baton_norm ToC(const Norm& norm) { return {norm.gain, norm.epsilon}; }

baton_paged_kv ToC(const PagedKvView& kv) {
  return {.base = kv.layer_base,
          .block_stride_bytes = kv.block_stride(),
          .blocks = kv.blocks,
          .kv_heads = kv.geometry.kv_heads,
          .head_dim = kv.geometry.head_dim,
          .block_tokens = kv.geometry.block_tokens,
          .dtype = static_cast<int32_t>(kv.geometry.dtype),
          .latent_dim = kv.geometry.latent_dim};
}

const baton_weight* ToC(const Weight* weight) { return OfPlugin(weight).chip(); }

template <typename Args>
void SetSequences(absl::Span<const SequenceRows> sequences, CArgs<Args>* c) {
  for (const SequenceRows& s : sequences) {
    c->sequences.push_back({s.row_begin, s.row_count, s.position, s.block_table, s.block_count});
  }
  c->args.sequences = c->sequences.data();
  c->args.sequence_count = static_cast<int32_t>(c->sequences.size());
}

}  // namespace

CArgs<baton_embed_args> ToC(const EmbedArgs& args) {
  return {.args = {ToC(args.table), args.ids.data(), ToC(args.out)}};
}

CArgs<baton_rms_norm_args> ToC(const RmsNormArgs& args) {
  return {.args = {ToC(args.in), ToC(args.norm), ToC(args.out)}};
}

CArgs<baton_linear_args> ToC(const LinearArgs& args) {
  CArgs<baton_linear_args> c;
  for (const LinearArgs::Part& part : args.parts) {
    c.parts.push_back({ToC(part.weight), part.bias, ToC(part.out), part.accumulate ? 1 : 0});
  }
  c.args = {ToC(args.in), ToC(args.norm), c.parts.data(), static_cast<int32_t>(c.parts.size())};
  return c;
}

CArgs<baton_gated_linear_args> ToC(const GatedLinearArgs& args) {
  return {.args = {ToC(args.in), ToC(args.norm), ToC(args.gate), ToC(args.up),
                   static_cast<int32_t>(args.activation), ToC(args.out)}};
}

CArgs<baton_rope_args> ToC(const RopeArgs& args) {
  CArgs<baton_rope_args> c;
  c.args = {.x = ToC(args.x),
            .head_dim = args.head_dim,
            .rotary_dim = args.rotary_dim,
            .half_style = args.style == RopeStyle::kHalf ? 1 : 0,
            .table = ToC(args.table)};
  SetSequences(args.sequences, &c);
  return c;
}

CArgs<baton_append_kv_args> ToC(const AppendKvArgs& args) {
  CArgs<baton_append_kv_args> c;
  c.args = {.key = ToC(args.key), .value = ToC(args.value), .kv = ToC(args.kv)};
  if (args.kv.geometry.latent_dim > 0) c.args.value = {};
  SetSequences(args.sequences, &c);
  return c;
}

CArgs<baton_attention_args> ToC(const AttentionArgs& args) {
  CArgs<baton_attention_args> c;
  c.args = {.query = ToC(args.query),
            .kv = ToC(args.kv),
            .query_heads = args.query_heads,
            .scale = args.scale,
            .sinks = args.sinks,
            .window = args.window,
            .out = ToC(args.out)};
  SetSequences(args.sequences, &c);
  return c;
}

CArgs<baton_gather_rows_args> ToC(const GatherRowsArgs& args) {
  return {.args = {ToC(args.in), args.rows.data(), ToC(args.out)}};
}

CArgs<baton_head_linear_args> ToC(const HeadLinearArgs& args) {
  CArgs<baton_head_linear_args> c;
  for (const Weight* weight : args.weights) c.weights.push_back(ToC(weight));
  c.args = {ToC(args.in),  args.in_step, c.weights.data(), static_cast<int32_t>(c.weights.size()),
            ToC(args.out), args.out_step};
  return c;
}

CArgs<baton_copy_heads_args> ToC(const CopyHeadsArgs& args) {
  return {
      .args = {ToC(args.in), args.in_step, ToC(args.out), args.out_step, args.heads, args.cols}};
}

CArgs<baton_experts_args> ToC(const ExpertsArgs& args) {
  CArgs<baton_experts_args> c;
  for (const Expert& expert : args.experts) {
    c.experts.push_back({ToC(expert.gate), ToC(expert.up), ToC(expert.down), expert.gate_bias,
                         expert.up_bias, expert.down_bias});
  }
  c.args = {.in = ToC(args.in),
            .norm = ToC(args.norm),
            .experts = c.experts.data(),
            .expert_count = static_cast<int32_t>(c.experts.size()),
            .experts_per_row = args.experts_per_row,
            .chosen = args.chosen.data(),
            .weights = args.weights.data(),
            .clamped = args.activation == ExpertActivation::kClampedSwiglu ? 1 : 0,
            .limit = args.limit,
            .alpha = args.alpha,
            .out = ToC(args.out)};
  return c;
}

}  // namespace baton::device
