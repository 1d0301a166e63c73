#include "models/mixtral.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "models/config_check.h"
#include "models/grouped_attention.h"
#include "models/hf_decoder_config.h"
#include "models/mixture.h"

namespace baton::models {
namespace {

// Softmax over all experts, the highest, renormalised (section 2.1; softmax over the chosen logits
// is the same).
absl::StatusOr<MixtureConfig> ReadMixture(const HfConfig& hf) {
  MixtureConfig mixture;
  BATON_ASSIGN_OR_RETURN(mixture.routing.experts, HfCount(hf, "num_local_experts", kMaxExperts));
  BATON_ASSIGN_OR_RETURN(mixture.routing.experts_per_token,
                         HfCount(hf, "num_experts_per_tok", mixture.routing.experts));
  mixture.routing.renormalise = true;
  BATON_ASSIGN_OR_RETURN(mixture.intermediate, HfCount(hf, "intermediate_size", kMaxIntermediate));
  return mixture;
}

}  // namespace

absl::StatusOr<ModelConfig> ReadMixtralConfig(const Checkpoint& checkpoint) {
  const HfConfig& hf = *checkpoint.hf_config();
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "hidden_act", "silu"));
  BATON_RETURN_IF_ERROR(ReadHfWindow(hf).status());
  BATON_RETURN_IF_ERROR(HfAllowBlockFp8(hf));
  BATON_RETURN_IF_ERROR(ReadMixture(hf).status());
  BATON_ASSIGN_OR_RETURN(ModelConfig config, ReadHfDecoder(hf));
  BATON_RETURN_IF_ERROR(ReadHfHeads(hf, config));
  return Checked(checkpoint, std::move(config));
}

absl::StatusOr<std::unique_ptr<Model>> LoadMixtral(const Checkpoint& checkpoint,
                                                   const ModelConfig& config,
                                                   device::Device& device,
                                                   const LoadOptions& options) {
  BATON_ASSIGN_OR_RETURN(const MixtureConfig mixture, ReadMixture(*checkpoint.hf_config()));
  BATON_ASSIGN_OR_RETURN(const int64_t window, ReadHfWindow(*checkpoint.hf_config()));
  BATON_ASSIGN_OR_RETURN(auto context, Decoder::MakeContext(config, device, options));
  WeightLoader loader(checkpoint, device, options.on_progress);
  BATON_ASSIGN_OR_RETURN(DecoderWeights weights, LoadDecoderEnds(loader, config));
  for (int32_t i = 0; i < config.layers; ++i) {
    const std::string layer = absl::StrCat("model.layers.", i, ".");
    const std::string block = layer + "block_sparse_moe.";
    BATON_ASSIGN_OR_RETURN(auto attention,
                           LoadGroupedAttention(loader, *context, layer, {.window = window}));
    BATON_ASSIGN_OR_RETURN(MixtureWeights experts,
                           LoadMixtureWeights(loader, config, mixture,
                                              {.norm = layer + "post_attention_layernorm.weight",
                                               .router = block + "gate.weight",
                                               .experts = block + "experts.",
                                               .gate = "w1",
                                               .up = "w3",
                                               .down = "w2"}));
    BATON_ASSIGN_OR_RETURN(auto feed_forward, MakeMixture(*context, mixture, std::move(experts)));
    weights.layers.push_back({std::move(attention), std::move(feed_forward)});
  }
  BATON_RETURN_IF_ERROR(loader.CheckAllTaken(config, {}));
  return Decoder::Create(std::move(context), std::move(weights), options);
}

}  // namespace baton::models
