#include "models/deepseek.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "models/deepseek_config.h"

namespace baton::models {
namespace {

absl::Status LoadShared(WeightLoader& loader, const std::string& prefix, int64_t hidden,
                        int64_t intermediate, MixtureWeights& weights) {
  BATON_ASSIGN_OR_RETURN(weights.shared_gate,
                         loader.Matrix(prefix + "gate_proj.weight", intermediate, hidden));
  BATON_ASSIGN_OR_RETURN(weights.shared_up,
                         loader.Matrix(prefix + "up_proj.weight", intermediate, hidden));
  BATON_ASSIGN_OR_RETURN(weights.shared_down,
                         loader.Matrix(prefix + "down_proj.weight", hidden, intermediate));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FeedForwardLayer>> LoadFeedForward(WeightLoader& loader,
                                                                  DecoderContext& context,
                                                                  const DeepseekConfig& own,
                                                                  int32_t index) {
  const ModelConfig& config = context.config;
  const std::string layer = absl::StrCat("model.layers.", index, ".");
  if (index < own.dense_layers) {
    return LoadDenseFeedForward(loader, context, layer, config.intermediate, {});
  }
  BATON_ASSIGN_OR_RETURN(MixtureWeights weights,
                         LoadMixtureWeights(loader, config, own.mixture,
                                            {.norm = layer + "post_attention_layernorm.weight",
                                             .router = layer + "mlp.gate.weight",
                                             .experts = layer + "mlp.experts.",
                                             .gate = "gate_proj",
                                             .up = "up_proj",
                                             .down = "down_proj"}));
  if (own.choice_bias) {
    BATON_ASSIGN_OR_RETURN(
        FloatTensor bias,
        loader.Floats(layer + "mlp.gate.e_score_correction_bias", 1, own.mixture.routing.experts));
    weights.choice_bias = std::move(bias.values);
  }
  if (own.shared_intermediate > 0) {
    BATON_RETURN_IF_ERROR(LoadShared(loader, layer + "mlp.shared_experts.", config.hidden,
                                     own.shared_intermediate, weights));
  }
  return MakeMixture(context, own.mixture, std::move(weights));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadDeepseek(const Checkpoint& checkpoint,
                                                    const ModelConfig& config,
                                                    device::Device& device,
                                                    const LoadOptions& options) {
  BATON_ASSIGN_OR_RETURN(const DeepseekConfig own, ReadDeepseekOwnConfig(checkpoint));
  BATON_ASSIGN_OR_RETURN(auto context, Decoder::MakeContext(config, device, options));
  WeightLoader loader(checkpoint, device, options.on_progress);
  BATON_ASSIGN_OR_RETURN(DecoderWeights weights, LoadDecoderEnds(loader, config));
  for (int32_t i = 0; i < config.layers; ++i) {
    BATON_ASSIGN_OR_RETURN(
        auto attention, LoadLatentAttention(loader, *context, absl::StrCat("model.layers.", i, "."),
                                            own.attention));
    BATON_ASSIGN_OR_RETURN(auto feed_forward, LoadFeedForward(loader, *context, own, i));
    weights.layers.push_back({std::move(attention), std::move(feed_forward)});
  }
  std::vector<std::string> unused;
  for (int64_t i = 0; i < own.prediction_layers; ++i) {
    unused.push_back(absl::StrCat("model.layers.", config.layers + i, "."));
  }
  BATON_RETURN_IF_ERROR(loader.CheckAllTaken(config, unused));
  return Decoder::Create(std::move(context), std::move(weights), options);
}

}  // namespace baton::models
