#include "models/latent_attention.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

// Of the norms of compressed queries and latents; no published configuration has a field for it.
constexpr float kInnerNormEpsilon = 1e-6f;

struct LatentWeights {
  device::Buffer norm;                         // [hidden]
  std::unique_ptr<device::Weight> query_down;  // [query_rank, hidden], or null
  device::Buffer query_norm;                   // [query_rank], or empty
  std::unique_ptr<device::Weight> query;       // [heads * (plain + rotary), rank or hidden]
  std::unique_ptr<device::Weight> down;        // [latent + rotary, hidden]
  device::Buffer latent_norm;                  // [latent]
  std::vector<std::unique_ptr<device::Weight>> owned;
  std::vector<const device::Weight*> key_up;    // a head each: [latent, plain]
  std::vector<const device::Weight*> value_up;  // a head each: [value, latent]
  std::unique_ptr<device::Weight> output;       // [hidden, heads * value]
};

// Columns [begin, begin + cols) of a matrix.
device::MatrixView Columns(const device::MatrixView& m, int64_t begin, int64_t cols) {
  return {m.data + begin, m.rows, cols, m.stride};
}

class LatentAttention final : public AttentionLayer {
 public:
  LatentAttention(DecoderContext& context, const LatentAttentionConfig& config,
                  LatentWeights weights)
      : context_(context),
        config_(config),
        heads_(context.config.query_heads),
        key_dim_(config.rotary_dim + config.latent_dim),
        weights_(std::move(weights)) {}

  int64_t query_cols() const override { return heads_ * key_dim_; }

  absl::Status WriteKv(const StepRows& rows, const device::PagedKvView& kv) override {
    const int64_t n = rows.x.rows, head_cols = config_.plain_dim + config_.rotary_dim;
    const device::MatrixView query = context_.memory.Get(Scratch::kAttended, n, heads_ * head_cols);
    const device::MatrixView compressed =
        context_.memory.Get(Scratch::kCompressed, n, config_.latent_dim + config_.rotary_dim);
    const device::MatrixView key = context_.memory.Get(Scratch::kKey, n, key_dim_);
    BATON_RETURN_IF_ERROR(Project(rows.x, query, compressed));
    BATON_RETURN_IF_ERROR(MakeKey(compressed, key));
    BATON_RETURN_IF_ERROR(AbsorbQuery(query, rows.query));
    BATON_RETURN_IF_ERROR(Rotate(key, rows));
    BATON_RETURN_IF_ERROR(Rotate(rows.query, rows));
    return context_.device.AppendKv({.key = key, .kv = kv, .sequences = rows.sequences});
  }

  absl::Status Attend(const StepRows& rows, const device::PagedKvView& kv) override {
    const int64_t n = rows.x.rows;
    const device::MatrixView mixed =
        context_.memory.Get(Scratch::kAttended, n, heads_ * config_.latent_dim);
    const device::MatrixView values =
        context_.memory.Get(Scratch::kValue, n, heads_ * config_.value_dim);
    BATON_RETURN_IF_ERROR(context_.device.Attention({.query = rows.query,
                                                     .kv = kv,
                                                     .sequences = rows.sequences,
                                                     .query_heads = context_.config.query_heads,
                                                     .scale = config_.scale,
                                                     .out = mixed}));
    BATON_RETURN_IF_ERROR(context_.device.HeadLinear({.in = mixed,
                                                      .in_step = config_.latent_dim,
                                                      .weights = weights_.value_up,
                                                      .out = values,
                                                      .out_step = config_.value_dim}));
    const device::LinearArgs::Part part{
        .weight = weights_.output.get(), .out = rows.x, .accumulate = true};
    return context_.device.Linear({.in = values, .parts = {&part, 1}});
  }

 private:
  // query [n, heads * (plain | rotary)] and compressed [n, latent | rotary] from the normed
  // residual.
  absl::Status Project(const device::MatrixView& x, const device::MatrixView& query,
                       const device::MatrixView& compressed) {
    const bool two_steps = weights_.query_down != nullptr;
    const device::MatrixView low =
        two_steps ? context_.memory.Get(Scratch::kProjected, x.rows, config_.query_rank) : query;
    const device::LinearArgs::Part parts[] = {
        {.weight = two_steps ? weights_.query_down.get() : weights_.query.get(), .out = low},
        {.weight = weights_.down.get(), .out = compressed}};
    BATON_RETURN_IF_ERROR(context_.device.Linear(
        {.in = x,
         .norm = {.gain = weights_.norm.floats(), .epsilon = context_.config.norm_epsilon},
         .parts = parts}));
    if (!two_steps) return absl::OkStatus();
    const device::LinearArgs::Part up{.weight = weights_.query.get(), .out = query};
    return context_.device.Linear(
        {.in = low,
         .norm = {.gain = weights_.query_norm.floats(), .epsilon = kInnerNormEpsilon},
         .parts = {&up, 1}});
  }

  // key = [rotary part, as projected | normed latent].
  absl::Status MakeKey(const device::MatrixView& compressed, const device::MatrixView& key) {
    BATON_RETURN_IF_ERROR(context_.device.CopyHeads(
        {.in = Columns(compressed, config_.latent_dim, config_.rotary_dim),
         .in_step = config_.rotary_dim,
         .out = key,
         .out_step = config_.rotary_dim,
         .heads = 1,
         .cols = config_.rotary_dim}));
    return context_.device.RmsNorm(
        {.in = Columns(compressed, 0, config_.latent_dim),
         .norm = {.gain = weights_.latent_norm.floats(), .epsilon = kInnerNormEpsilon},
         .out = Columns(key, config_.rotary_dim, config_.latent_dim)});
  }

  // absorbed = a head each: [rotary part | up-projection of the keys, transposed, times the plain
  // part], so that its product with a key is that of the expanded ones.
  absl::Status AbsorbQuery(const device::MatrixView& query, const device::MatrixView& absorbed) {
    const int64_t head_cols = config_.plain_dim + config_.rotary_dim;
    BATON_RETURN_IF_ERROR(context_.device.CopyHeads(
        {.in = Columns(query, config_.plain_dim, query.cols - config_.plain_dim),
         .in_step = head_cols,
         .out = absorbed,
         .out_step = key_dim_,
         .heads = context_.config.query_heads,
         .cols = config_.rotary_dim}));
    return context_.device.HeadLinear(
        {.in = query,
         .in_step = head_cols,
         .weights = weights_.key_up,
         .out = Columns(absorbed, config_.rotary_dim, absorbed.cols - config_.rotary_dim),
         .out_step = key_dim_});
  }

  // Rotates the beginning of every head.
  absl::Status Rotate(const device::MatrixView& heads, const StepRows& rows) {
    const RopeConfig& rope = context_.config.rope;
    return context_.device.Rope({.x = heads,
                                 .head_dim = static_cast<int32_t>(key_dim_),
                                 .rotary_dim = rope.rotary_dim,
                                 .style = rope.style,
                                 .table = context_.rope.view(),
                                 .sequences = rows.sequences});
  }

  DecoderContext& context_;
  const LatentAttentionConfig config_;
  const int64_t heads_, key_dim_;
  LatentWeights weights_;
};

// Of GGUF files that store both already cut and the keys' transposed, stacked by head.
absl::Status LoadCutUpProjections(WeightLoader& loader, const std::string& attention, int64_t heads,
                                  const LatentAttentionConfig& config, LatentWeights& weights) {
  const auto take = [&](const char* name, int64_t head, int64_t rows, int64_t cols,
                        std::vector<const device::Weight*>& list) -> absl::Status {
    const std::string full = absl::StrCat(attention, name, head, ".weight");
    BATON_ASSIGN_OR_RETURN(auto weight, loader.Matrix(full, rows, cols));
    list.push_back(weight.get());
    weights.owned.push_back(std::move(weight));
    return absl::OkStatus();
  };
  for (int64_t h = 0; h < heads; ++h) {
    BATON_RETURN_IF_ERROR(
        take("k_b_proj.", h, config.latent_dim, config.plain_dim, weights.key_up));
    BATON_RETURN_IF_ERROR(
        take("v_b_proj.", h, config.value_dim, config.latent_dim, weights.value_up));
  }
  return absl::OkStatus();
}

// Cuts kv_b_proj, [heads * (plain + value), latent], into two matrices a head, the keys'
// transposed.
absl::Status LoadUpProjections(WeightLoader& loader, const std::string& name, int64_t heads,
                               const LatentAttentionConfig& config, LatentWeights& weights) {
  const int64_t plain = config.plain_dim, value = config.value_dim, latent = config.latent_dim;
  BATON_ASSIGN_OR_RETURN(const FloatTensor both,
                         loader.Floats(name, heads * (plain + value), latent));
  const auto keep = [&](const std::vector<float>& values, int64_t rows, int64_t cols,
                        std::vector<const device::Weight*>& list) -> absl::Status {
    BATON_ASSIGN_OR_RETURN(auto weight, loader.Prepare(values, both.dtype, rows, cols));
    list.push_back(weight.get());
    weights.owned.push_back(std::move(weight));
    return absl::OkStatus();
  };
  for (int64_t h = 0; h < heads; ++h) {
    const float* keys = both.values.data() + h * (plain + value) * latent;
    const float* values = keys + plain * latent;
    std::vector<float> turned(latent * plain);
    for (int64_t l = 0; l < latent; ++l) {
      for (int64_t i = 0; i < plain; ++i) turned[l * plain + i] = keys[i * latent + l];
    }
    BATON_RETURN_IF_ERROR(keep(turned, latent, plain, weights.key_up));
    const std::vector<float> straight(values, values + value * latent);
    BATON_RETURN_IF_ERROR(keep(straight, value, latent, weights.value_up));
  }
  return absl::OkStatus();
}

absl::Status LoadQuery(WeightLoader& loader, const std::string& attention, int64_t hidden,
                       int64_t query_cols, int64_t rank, LatentWeights& weights) {
  if (rank == 0) {
    BATON_ASSIGN_OR_RETURN(weights.query,
                           loader.Matrix(attention + "q_proj.weight", query_cols, hidden));
    return absl::OkStatus();
  }
  BATON_ASSIGN_OR_RETURN(weights.query_down,
                         loader.Matrix(attention + "q_a_proj.weight", rank, hidden));
  BATON_ASSIGN_OR_RETURN(weights.query_norm,
                         loader.Vector(attention + "q_a_layernorm.weight", rank));
  BATON_ASSIGN_OR_RETURN(weights.query,
                         loader.Matrix(attention + "q_b_proj.weight", query_cols, rank));
  return absl::OkStatus();
}

absl::Status ReserveScratch(StepMemory& memory, int64_t heads,
                            const LatentAttentionConfig& config) {
  const std::pair<Scratch, int64_t> wanted[] = {
      {Scratch::kAttended,
       heads * std::max(config.plain_dim + config.rotary_dim, config.latent_dim)},
      {Scratch::kCompressed, config.latent_dim + config.rotary_dim},
      {Scratch::kKey, config.latent_dim + config.rotary_dim},
      {Scratch::kValue, heads * config.value_dim},
      {Scratch::kProjected, config.query_rank}};
  for (const auto& [purpose, cols] : wanted) {
    if (cols > 0) BATON_RETURN_IF_ERROR(memory.Reserve(purpose, cols));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<AttentionLayer>> LoadLatentAttention(
    WeightLoader& loader, DecoderContext& context, const std::string& prefix,
    const LatentAttentionConfig& config) {
  const int64_t hidden = context.config.hidden, heads = context.config.query_heads;
  const std::string attention = prefix + "self_attn.";
  LatentWeights w;
  BATON_ASSIGN_OR_RETURN(w.norm, loader.Vector(prefix + "input_layernorm.weight", hidden));
  BATON_RETURN_IF_ERROR(LoadQuery(loader, attention, hidden,
                                  heads * (config.plain_dim + config.rotary_dim), config.query_rank,
                                  w));
  BATON_ASSIGN_OR_RETURN(w.down, loader.Matrix(attention + "kv_a_proj_with_mqa.weight",
                                               config.latent_dim + config.rotary_dim, hidden));
  BATON_ASSIGN_OR_RETURN(w.latent_norm,
                         loader.Vector(attention + "kv_a_layernorm.weight", config.latent_dim));
  const std::string uncut = attention + "kv_b_proj.weight";
  BATON_RETURN_IF_ERROR(loader.checkpoint().gguf() != nullptr && !loader.Has(uncut)
                            ? LoadCutUpProjections(loader, attention, heads, config, w)
                            : LoadUpProjections(loader, uncut, heads, config, w));
  BATON_ASSIGN_OR_RETURN(
      w.output, loader.Matrix(attention + "o_proj.weight", hidden, heads * config.value_dim));
  BATON_RETURN_IF_ERROR(ReserveScratch(context.memory, heads, config));
  return std::make_unique<LatentAttention>(context, config, std::move(w));
}

}  // namespace baton::models
