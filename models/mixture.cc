#include "models/mixture.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

// x += down(silu(gate norm(x)) * (up norm(x))) with weights that others own.
absl::Status AddGated(DecoderContext& context, const device::Norm& norm, const device::Weight& gate,
                      const device::Weight& up, const device::Weight& down,
                      const device::ConstMatrixView& in, const device::MatrixView& x) {
  const device::MatrixView gated = context.memory.Get(Scratch::kGated, x.rows, gate.rows());
  BATON_RETURN_IF_ERROR(
      context.device.GatedLinear({.in = in, .norm = norm, .gate = &gate, .up = &up, .out = gated}));
  const device::LinearArgs::Part part{.weight = &down, .out = x, .accumulate = true};
  return context.device.Linear({.in = gated, .parts = {&part, 1}});
}

class DenseFeedForward final : public FeedForwardLayer {
 public:
  DenseFeedForward(DecoderContext& context, device::Buffer norm,
                   std::unique_ptr<device::Weight> gate, std::unique_ptr<device::Weight> up,
                   std::unique_ptr<device::Weight> down)
      : context_(context),
        norm_(std::move(norm)),
        gate_(std::move(gate)),
        up_(std::move(up)),
        down_(std::move(down)) {}

  absl::Status Add(const device::MatrixView& x) override {
    return AddGated(context_, {norm_.floats(), context_.config.norm_epsilon}, *gate_, *up_, *down_,
                    x, x);
  }

 private:
  DecoderContext& context_;
  device::Buffer norm_;
  std::unique_ptr<device::Weight> gate_, up_, down_;
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
      BATON_RETURN_IF_ERROR(AddGated(context_, {}, *weights_.shared_gate, *weights_.shared_up,
                                     *weights_.shared_down, normed, x));
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

absl::StatusOr<std::unique_ptr<FeedForwardLayer>> LoadDenseFeedForward(WeightLoader& loader,
                                                                       DecoderContext& context,
                                                                       const std::string& norm_name,
                                                                       const std::string& prefix,
                                                                       int64_t intermediate) {
  const int64_t hidden = context.config.hidden;
  BATON_ASSIGN_OR_RETURN(device::Buffer norm, loader.Vector(norm_name, hidden));
  BATON_ASSIGN_OR_RETURN(
      auto gate, loader.Matrix(absl::StrCat(prefix, "gate_proj.weight"), intermediate, hidden));
  BATON_ASSIGN_OR_RETURN(
      auto up, loader.Matrix(absl::StrCat(prefix, "up_proj.weight"), intermediate, hidden));
  BATON_ASSIGN_OR_RETURN(
      auto down, loader.Matrix(absl::StrCat(prefix, "down_proj.weight"), hidden, intermediate));
  BATON_RETURN_IF_ERROR(context.memory.Reserve(Scratch::kGated, intermediate));
  return std::make_unique<DenseFeedForward>(context, std::move(norm), std::move(gate),
                                            std::move(up), std::move(down));
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
