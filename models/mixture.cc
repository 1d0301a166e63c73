#include "models/mixture.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

struct DenseWeights {
  device::Buffer norm, output_norm;                // [hidden], or empty
  std::unique_ptr<device::Weight> gate, up, down;  // [intermediate, hidden], down turned
};

class DenseFeedForward final : public FeedForwardLayer {
 public:
  DenseFeedForward(DecoderContext& context, DenseWeights weights, device::Activation activation)
      : context_(context), weights_(std::move(weights)), activation_(activation) {}

  absl::Status Add(const device::MatrixView& x) override {
    const device::MatrixView gated =
        context_.memory.Get(Scratch::kGated, x.rows, weights_.gate->rows());
    BATON_RETURN_IF_ERROR(
        context_.device.GatedLinear({.in = x,
                                     .norm = {weights_.norm.floats(), context_.config.norm_epsilon},
                                     .gate = weights_.gate.get(),
                                     .up = weights_.up.get(),
                                     .activation = activation_,
                                     .out = gated}));
    return AddLinear(context_, *weights_.down, nullptr, gated, weights_.output_norm, x);
  }

 private:
  DecoderContext& context_;
  DenseWeights weights_;
  device::Activation activation_;
};

class Mixture final : public FeedForwardLayer {
 public:
  Mixture(DecoderContext& context, const MixtureConfig& config, MixtureWeights weights)
      : context_(context), config_(config), weights_(std::move(weights)) {}

  absl::Status Add(const device::MatrixView& x) override {
    const device::Norm norm{weights_.norm.floats(), context_.config.norm_epsilon};
    // Router, experts and shared network all read the norm of what x was before.
    const device::MatrixView normed = context_.memory.Get(Scratch::kProjected, x.rows, x.cols);
    BATON_RETURN_IF_ERROR(context_.device.RmsNorm({.in = x, .norm = norm, .out = normed}));
    BATON_RETURN_IF_ERROR(ChooseExperts(normed));
    if (weights_.shared_gate != nullptr) {
      BATON_RETURN_IF_ERROR(AddShared(normed, x));
    }
    return context_.device.Experts({.in = normed,
                                    .experts = weights_.experts,
                                    .experts_per_row = config_.routing.experts_per_token,
                                    .chosen = chosen_,
                                    .weights = chosen_weights_,
                                    .activation = config_.activation,
                                    .limit = config_.limit,
                                    .alpha = config_.alpha,
                                    .out = x});
  }

 private:
  // x += the network that all tokens visit.
  absl::Status AddShared(const device::MatrixView& normed, const device::MatrixView& x) {
    const device::MatrixView gated =
        context_.memory.Get(Scratch::kGated, x.rows, weights_.shared_gate->rows());
    BATON_RETURN_IF_ERROR(context_.device.GatedLinear({.in = normed,
                                                       .gate = weights_.shared_gate.get(),
                                                       .up = weights_.shared_up.get(),
                                                       .out = gated}));
    return AddLinear(context_, *weights_.shared_down, nullptr, gated, {}, x);
  }

  absl::Status ChooseExperts(const device::MatrixView& normed) {
    const RoutingConfig& routing = config_.routing;
    const device::MatrixView logits =
        context_.memory.Get(Scratch::kRouter, normed.rows, routing.experts);
    const device::LinearArgs::Part part{
        .weight = weights_.router.get(), .bias = weights_.router_bias.floats(), .out = logits};
    BATON_RETURN_IF_ERROR(context_.device.Linear({.in = normed, .parts = {&part, 1}}));
    const int64_t per_token = routing.experts_per_token;
    chosen_.resize(normed.rows * per_token);
    chosen_weights_.resize(normed.rows * per_token);
    const float* bias = weights_.choice_bias.empty() ? nullptr : weights_.choice_bias.data();
    for (int64_t r = 0; r < normed.rows; ++r) {
      Route(routing, logits.row(r), bias, chosen_.data() + r * per_token,
            chosen_weights_.data() + r * per_token);
    }
    return absl::OkStatus();
  }

  DecoderContext& context_;
  const MixtureConfig config_;
  MixtureWeights weights_;
  std::vector<int32_t> chosen_;
  std::vector<float> chosen_weights_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<FeedForwardLayer>> LoadDenseFeedForward(
    WeightLoader& loader, DecoderContext& context, const std::string& prefix, int64_t intermediate,
    const FeedForwardOptions& options) {
  const int64_t hidden = context.config.hidden;
  const auto norm = [&](const std::string& name) -> absl::StatusOr<device::Buffer> {
    if (name.empty()) return device::Buffer();
    return loader.Norm(prefix + name, hidden);
  };
  const auto half = [&](const char* name, int64_t first) {
    if (!options.fused) {
      return loader.Matrix(absl::StrCat(prefix, "mlp.", name, ".weight"), intermediate, hidden);
    }
    return loader.MatrixRows(prefix + "mlp.gate_up_proj.weight", 2 * intermediate, hidden, first,
                             intermediate);
  };
  DenseWeights w;
  BATON_ASSIGN_OR_RETURN(w.norm, norm(options.norm));
  BATON_ASSIGN_OR_RETURN(w.gate, half("gate_proj", 0));
  BATON_ASSIGN_OR_RETURN(w.up, half("up_proj", intermediate));
  BATON_ASSIGN_OR_RETURN(w.down,
                         loader.Matrix(prefix + "mlp.down_proj.weight", hidden, intermediate));
  BATON_ASSIGN_OR_RETURN(w.output_norm, norm(options.output_norm));
  BATON_RETURN_IF_ERROR(context.memory.Reserve(Scratch::kGated, intermediate));
  if (!options.output_norm.empty()) {
    BATON_RETURN_IF_ERROR(context.memory.Reserve(Scratch::kProjected, hidden));
  }
  return std::make_unique<DenseFeedForward>(context, std::move(w), options.activation);
}

absl::StatusOr<MixtureWeights> LoadMixtureWeights(WeightLoader& loader, const ModelConfig& model,
                                                  const MixtureConfig& config,
                                                  const MixtureNames& names) {
  const int64_t hidden = model.hidden, intermediate = config.intermediate;
  MixtureWeights weights;
  BATON_ASSIGN_OR_RETURN(weights.norm, loader.Vector(names.norm, hidden));
  BATON_ASSIGN_OR_RETURN(weights.router,
                         loader.Matrix(names.router, config.routing.experts, hidden));
  for (int32_t e = 0; e < config.routing.experts; ++e) {
    const auto take = [&](const char* name, int64_t rows,
                          int64_t cols) -> absl::StatusOr<const device::Weight*> {
      const std::string full = absl::StrCat(names.experts, e, ".", name, ".weight");
      BATON_ASSIGN_OR_RETURN(auto weight, loader.Matrix(full, rows, cols));
      weights.owned.push_back(std::move(weight));
      return weights.owned.back().get();
    };
    device::Expert expert;
    BATON_ASSIGN_OR_RETURN(expert.gate, take(names.gate, intermediate, hidden));
    BATON_ASSIGN_OR_RETURN(expert.up, take(names.up, intermediate, hidden));
    BATON_ASSIGN_OR_RETURN(expert.down, take(names.down, hidden, intermediate));
    weights.experts.push_back(expert);
  }
  return weights;
}

absl::StatusOr<std::unique_ptr<FeedForwardLayer>> MakeMixture(DecoderContext& context,
                                                              const MixtureConfig& config,
                                                              MixtureWeights weights) {
  BATON_RETURN_IF_ERROR(context.memory.Reserve(Scratch::kProjected, context.config.hidden));
  BATON_RETURN_IF_ERROR(context.memory.Reserve(Scratch::kRouter, config.routing.experts));
  if (weights.shared_gate != nullptr) {
    BATON_RETURN_IF_ERROR(context.memory.Reserve(Scratch::kGated, weights.shared_gate->rows()));
  }
  return std::make_unique<Mixture>(context, config, std::move(weights));
}

}  // namespace baton::models
