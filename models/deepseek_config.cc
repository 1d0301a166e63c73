#include "models/deepseek_config.h"

#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "models/config_check.h"
#include "models/hf_decoder_config.h"
#include "models/hf_rope.h"

namespace baton::models {
namespace {

constexpr int64_t kMaxPredictionLayers = 16;

// A whole number of at least 0; absent and null are 0.
absl::StatusOr<int64_t> CountOrNone(const HfConfig& hf, const std::string& key, int64_t limit) {
  BATON_ASSIGN_OR_RETURN(const int64_t value, hf.GetInt(key, 0));
  if (value >= 0 && value <= limit) return value;
  return hf.Refusal(key, absl::StrCat("allowed are 0 to ", limit));
}

// YaRN makes the scores sharper too: by the square of what it would scale queries and keys with,
// of which the rotary table applies the part that mscale_all_dim leaves over (ReadHfRope).
absl::StatusOr<double> YarnScoreFactor(const HfConfig& hf) {
  const std::string key = hf.Has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!hf.Has(key)) return 1.0;
  BATON_ASSIGN_OR_RETURN(const HfConfig scaling, hf.GetObject(key));
  BATON_ASSIGN_OR_RETURN(const double all_dim, scaling.GetFloat("mscale_all_dim", 0.0));
  if (all_dim == 0) return 1.0;
  BATON_ASSIGN_OR_RETURN(const double factor, scaling.GetFloat("factor"));
  const double magnitude = factor > 1 ? 0.1 * all_dim * std::log(factor) + 1 : 1.0;
  return magnitude * magnitude;
}

absl::StatusOr<LatentAttentionConfig> ReadAttention(const HfConfig& hf) {
  LatentAttentionConfig attention;
  BATON_ASSIGN_OR_RETURN(attention.query_rank, CountOrNone(hf, "q_lora_rank", kMaxHidden));
  BATON_ASSIGN_OR_RETURN(attention.latent_dim, HfCount(hf, "kv_lora_rank", kMaxHeadDim));
  BATON_ASSIGN_OR_RETURN(attention.plain_dim, HfCount(hf, "qk_nope_head_dim", kMaxHeadDim));
  BATON_ASSIGN_OR_RETURN(attention.rotary_dim, HfCount(hf, "qk_rope_head_dim", kMaxHeadDim));
  if (attention.rotary_dim % 2 != 0) {
    return hf.Refusal("qk_rope_head_dim", "needed an even number");
  }
  BATON_ASSIGN_OR_RETURN(attention.value_dim, HfCount(hf, "v_head_dim", kMaxHeadDim));
  BATON_ASSIGN_OR_RETURN(const double factor, YarnScoreFactor(hf));
  const double dims = static_cast<double>(attention.plain_dim + attention.rotary_dim);
  attention.scale = static_cast<float>(factor / std::sqrt(dims));
  return attention;
}

absl::Status ReadGroups(const HfConfig& hf, RoutingConfig& routing) {
  BATON_ASSIGN_OR_RETURN(routing.groups, HfCount(hf, "n_group", routing.experts));
  if (routing.experts % routing.groups != 0) {
    return hf.Refusal("n_group",
                      absl::StrCat("needed a divisor of the ", routing.experts, " experts"));
  }
  BATON_ASSIGN_OR_RETURN(routing.groups_kept, HfCount(hf, "topk_group", routing.groups));
  return absl::OkStatus();
}

// DeepSeek-V2, section 2.2: softmax of all; with groups, those of the highest expert.
absl::Status ReadSoftmaxRouting(const HfConfig& hf, RoutingConfig& routing) {
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "scoring_func", "softmax"));
  BATON_RETURN_IF_ERROR(HfAllowOnlyBool(hf, "norm_topk_prob", false));
  routing.scoring = RoutingConfig::Scoring::kSoftmax;
  BATON_ASSIGN_OR_RETURN(const std::string method, hf.GetString("topk_method", "greedy"));
  if (method == "greedy") return absl::OkStatus();
  if (method != "group_limited_greedy") {
    return hf.Refusal("topk_method", "allowed are \"greedy\" and \"group_limited_greedy\"");
  }
  routing.group_score = RoutingConfig::GroupScore::kHighest;
  return ReadGroups(hf, routing);
}

// DeepSeek-V3, section 2.1.2: sigmoid, and a bias that balances the load by choice alone.
absl::Status ReadSigmoidRouting(const HfConfig& hf, RoutingConfig& routing) {
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "scoring_func", "sigmoid"));
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "topk_method", "noaux_tc"));
  routing.scoring = RoutingConfig::Scoring::kSigmoid;
  routing.group_score = RoutingConfig::GroupScore::kTwoHighest;
  BATON_ASSIGN_OR_RETURN(routing.renormalise, hf.GetBool("norm_topk_prob", true));
  return ReadGroups(hf, routing);
}

absl::StatusOr<MixtureConfig> ReadMixture(const HfConfig& hf, bool sigmoid) {
  MixtureConfig mixture;
  RoutingConfig& routing = mixture.routing;
  BATON_ASSIGN_OR_RETURN(routing.experts, HfCount(hf, "n_routed_experts", kMaxExperts));
  BATON_ASSIGN_OR_RETURN(routing.experts_per_token,
                         HfCount(hf, "num_experts_per_tok", routing.experts));
  BATON_ASSIGN_OR_RETURN(const double scale, hf.GetFloat("routed_scaling_factor", 1.0));
  routing.scale = static_cast<float>(scale);
  BATON_RETURN_IF_ERROR(sigmoid ? ReadSigmoidRouting(hf, routing)
                                : ReadSoftmaxRouting(hf, routing));
  const std::string problem = RoutingProblem(routing);
  if (!problem.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(hf.path(), ": ", problem));
  }
  BATON_ASSIGN_OR_RETURN(mixture.intermediate,
                         HfCount(hf, "moe_intermediate_size", kMaxIntermediate));
  return mixture;
}

}  // namespace

absl::StatusOr<DeepseekConfig> ReadDeepseekOwnConfig(const Checkpoint& checkpoint) {
  const HfConfig& hf = *checkpoint.hf_config();
  DeepseekConfig own;
  own.choice_bias = checkpoint.architecture() != "deepseek_v2";
  BATON_ASSIGN_OR_RETURN(own.attention, ReadAttention(hf));
  BATON_ASSIGN_OR_RETURN(own.mixture, ReadMixture(hf, /*sigmoid=*/own.choice_bias));
  BATON_RETURN_IF_ERROR(HfAllowOnlyOne(hf, "moe_layer_freq"));
  BATON_ASSIGN_OR_RETURN(own.dense_layers, CountOrNone(hf, "first_k_dense_replace", kMaxLayers));
  BATON_ASSIGN_OR_RETURN(const int64_t shared, CountOrNone(hf, "n_shared_experts", kMaxExperts));
  own.shared_intermediate = shared * own.mixture.intermediate;
  BATON_ASSIGN_OR_RETURN(own.prediction_layers,
                         CountOrNone(hf, "num_nextn_predict_layers", kMaxPredictionLayers));
  return own;
}

absl::StatusOr<ModelConfig> ReadDeepseekConfig(const Checkpoint& checkpoint) {
  const HfConfig& hf = *checkpoint.hf_config();
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "hidden_act", "silu"));
  BATON_RETURN_IF_ERROR(HfAllowOnlyBool(hf, "attention_bias", false));
  BATON_RETURN_IF_ERROR(HfAllowBlockFp8(hf));
  BATON_ASSIGN_OR_RETURN(ModelConfig config, ReadHfDecoder(hf));
  BATON_ASSIGN_OR_RETURN(const int64_t kv_heads,
                         hf.GetInt("num_key_value_heads", config.query_heads));
  if (kv_heads != config.query_heads) {
    return hf.Refusal("num_key_value_heads",
                      absl::StrCat("needed the number of attention heads, ", config.query_heads));
  }
  BATON_ASSIGN_OR_RETURN(const DeepseekConfig own, ReadDeepseekOwnConfig(checkpoint));
  const LatentAttentionConfig& attention = own.attention;
  config.kv_heads = 1;
  config.head_dim = static_cast<int32_t>(attention.rotary_dim + attention.latent_dim);
  config.kv_latent_dim = static_cast<int32_t>(attention.latent_dim);
  BATON_ASSIGN_OR_RETURN(config.rope, ReadHfRope(hf, static_cast<int32_t>(attention.rotary_dim)));
  BATON_ASSIGN_OR_RETURN(const bool interleaved, hf.GetBool("rope_interleave", true));
  if (interleaved) config.rope.style = device::RopeStyle::kInterleaved;
  return Checked(checkpoint, std::move(config));
}

}  // namespace baton::models
