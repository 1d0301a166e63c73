// The configurations of DeepSeek-V2, DeepSeek-V3 and Kimi-K2.
#pragma once

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/latent_attention.h"
#include "models/mixture.h"
#include "models/model_config.h"

namespace baton::models {

// What ModelConfig does not say.
struct DeepseekConfig {
  LatentAttentionConfig attention;
  MixtureConfig mixture;
  int64_t dense_layers = 0;         // the first so many have no experts
  int64_t shared_intermediate = 0;  // of the network that all tokens visit; 0: there is none
  bool choice_bias = false;         // e_score_correction_bias
  int64_t prediction_layers = 0;    // behind the last layer, for training and speculation: unused
};

// REQUIRES: the checkpoint has a config.json. Errors name field and value.
absl::StatusOr<DeepseekConfig> ReadDeepseekOwnConfig(const Checkpoint& checkpoint);

// The cached key is one head of rotated part and latent (latent_attention.h).
absl::StatusOr<ModelConfig> ReadDeepseekConfig(const Checkpoint& checkpoint);

}  // namespace baton::models
