#include "models/qwen3_moe.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "models/config_check.h"
#include "models/grouped_attention.h"
#include "models/hf_decoder_config.h"
#include "models/mixture.h"

namespace baton::models {
namespace {

struct Qwen3MoeConfig {
  MixtureConfig mixture;
  std::vector<int64_t> dense_layers;  // whatever the step says
  int64_t sparse_step = 1;            // every so many layers, the last of them, is a mixture
  bool biases = false;

  bool IsMixture(int64_t layer) const {
    return (layer + 1) % sparse_step == 0 &&
           std::find(dense_layers.begin(), dense_layers.end(), layer) == dense_layers.end();
  }
};

absl::StatusOr<Qwen3MoeConfig> ReadOwn(const HfConfig& hf) {
  Qwen3MoeConfig own;
  RoutingConfig& routing = own.mixture.routing;
  BATON_ASSIGN_OR_RETURN(routing.experts, HfCount(hf, "num_experts", kMaxExperts));
  BATON_ASSIGN_OR_RETURN(routing.experts_per_token,
                         HfCount(hf, "num_experts_per_tok", routing.experts));
  BATON_ASSIGN_OR_RETURN(routing.renormalise, hf.GetBool("norm_topk_prob", false));
  BATON_ASSIGN_OR_RETURN(own.mixture.intermediate,
                         HfCount(hf, "moe_intermediate_size", kMaxIntermediate));
  BATON_ASSIGN_OR_RETURN(own.dense_layers, hf.GetIntList("mlp_only_layers"));
  BATON_ASSIGN_OR_RETURN(own.sparse_step, HfCount(hf, "decoder_sparse_step", kMaxLayers, 1));
  BATON_ASSIGN_OR_RETURN(own.biases, hf.GetBool("attention_bias", false));
  return own;
}

absl::StatusOr<std::unique_ptr<FeedForwardLayer>> LoadFeedForward(WeightLoader& loader,
                                                                  DecoderContext& context,
                                                                  const Qwen3MoeConfig& own,
                                                                  int32_t index) {
  const std::string layer = absl::StrCat("model.layers.", index, ".");
  if (!own.IsMixture(index)) {
    return LoadDenseFeedForward(loader, context, layer, context.config.intermediate, {});
  }
  BATON_ASSIGN_OR_RETURN(MixtureWeights experts,
                         LoadMixtureWeights(loader, context.config, own.mixture,
                                            {.norm = layer + "post_attention_layernorm.weight",
                                             .router = layer + "mlp.gate.weight",
                                             .experts = layer + "mlp.experts.",
                                             .gate = "gate_proj",
                                             .up = "up_proj",
                                             .down = "down_proj"}));
  return MakeMixture(context, own.mixture, std::move(experts));
}

}  // namespace

absl::StatusOr<ModelConfig> ReadQwen3MoeConfig(const Checkpoint& checkpoint) {
  const HfConfig& hf = *checkpoint.hf_config();
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "hidden_act", "silu"));
  BATON_RETURN_IF_ERROR(HfAllowOnlyBool(hf, "use_sliding_window", false));
  BATON_RETURN_IF_ERROR(HfAllowBlockFp8(hf));
  BATON_RETURN_IF_ERROR(ReadOwn(hf).status());
  BATON_ASSIGN_OR_RETURN(ModelConfig config, ReadHfDecoder(hf));
  BATON_RETURN_IF_ERROR(ReadHfHeads(hf, config));
  return Checked(checkpoint, std::move(config));
}

absl::StatusOr<std::unique_ptr<Model>> LoadQwen3Moe(const Checkpoint& checkpoint,
                                                    const ModelConfig& config,
                                                    device::Device& device,
                                                    const LoadOptions& options) {
  BATON_ASSIGN_OR_RETURN(const Qwen3MoeConfig own, ReadOwn(*checkpoint.hf_config()));
  BATON_ASSIGN_OR_RETURN(auto context, Decoder::MakeContext(config, device, options));
  WeightLoader loader(checkpoint, device, options.on_progress);
  BATON_ASSIGN_OR_RETURN(DecoderWeights weights, LoadDecoderEnds(loader, config));
  for (int32_t i = 0; i < config.layers; ++i) {
    BATON_ASSIGN_OR_RETURN(
        auto attention,
        LoadGroupedAttention(loader, *context, absl::StrCat("model.layers.", i, "."),
                             {.input_biases = own.biases,
                              .output_bias = own.biases,
                              .head_norms = HeadNorms::kPerHead}));
    BATON_ASSIGN_OR_RETURN(auto feed_forward, LoadFeedForward(loader, *context, own, i));
    weights.layers.push_back({std::move(attention), std::move(feed_forward)});
  }
  BATON_RETURN_IF_ERROR(loader.CheckAllTaken(config, {}));
  return Decoder::Create(std::move(context), std::move(weights), options);
}

}  // namespace baton::models
