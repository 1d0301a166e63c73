// Which experts compute a token, and with which weights.
#pragma once

#include <cstdint>
#include <string>

namespace baton::models {

// Far above what has been published.
inline constexpr int32_t kMaxExperts = 4096;

// The rules of the published mixtures, as one function of a router's logits:
//   Mixtral, Qwen3-MoE   softmax of all; the highest; renormalised (Jiang et al. 2024)
//   DeepSeek-V2          softmax of all; the highest within the groups of highest maximum
//   DeepSeek-V3, Kimi    sigmoid; choice by score plus bias within the groups whose two highest sum
//                        to most; weights without the bias, renormalised (2024, section 2.1.2)
//   gpt-oss              the highest logits; softmax of these
struct RoutingConfig {
  enum class Scoring : uint8_t { kSoftmax, kSigmoid, kSoftmaxOfChosen };
  enum class GroupScore : uint8_t { kHighest, kTwoHighest };
  int32_t experts = 0;
  int32_t experts_per_token = 0;
  Scoring scoring = Scoring::kSoftmax;
  int32_t groups = 1;       // of equal size, in order of the experts
  int32_t groups_kept = 1;  // only experts of the best groups may be chosen
  GroupScore group_score = GroupScore::kHighest;
  bool renormalise = false;  // weights of the chosen sum to `scale`
  float scale = 1.0f;        // of all weights
};

// Empty, or what is wrong with the configuration ("experts_per_token is 5, allowed are 1 to 4").
std::string RoutingProblem(const RoutingConfig& config);

// Fills chosen[experts_per_token], ascending, and their weights, from one row of router logits
// [experts]. `bias` [experts] or null is added to the scores for the choice only. Of equal scores
// the lower index wins. The same bits on every machine. REQUIRES: RoutingProblem is empty.
void Route(const RoutingConfig& config, const float* logits, const float* bias, int32_t* chosen,
           float* weights);

}  // namespace baton::models
