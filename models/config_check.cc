#include "models/config_check.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

absl::Status Refuse(const char* field, double value, const char* allowed) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, ", allowed is ", allowed));
}

absl::Status CheckFactor(const char* field, float value, float least) {
  if (std::isfinite(value) && value >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, ", needed a number of at least ", least));
}

absl::Status CheckFactors(const std::vector<float>& factors, const RopeConfig& rope) {
  if (factors.size() != static_cast<size_t>(rope.rotary_dim / 2)) {
    return absl::InvalidArgumentError(absl::StrCat("rope frequency factors are ", factors.size(),
                                                   ", needed ", rope.rotary_dim / 2,
                                                   ", half of the rotary dimension"));
  }
  for (const float factor : factors) {
    if (!std::isfinite(factor) || factor <= 0) {
      return Refuse("a rope frequency factor", factor, "a number above 0");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRope(const RopeConfig& rope, int32_t head_dim) {
  if (rope.rotary_dim < 2 || rope.rotary_dim % 2 != 0 || rope.rotary_dim > head_dim) {
    return absl::InvalidArgumentError(absl::StrCat("rotary dimension is ", rope.rotary_dim,
                                                   ", allowed are even numbers from 2 to ",
                                                   head_dim, ", the head dimension"));
  }
  if (!std::isfinite(rope.base) || rope.base <= 1) {
    return Refuse("rope base", rope.base, "a number above 1");
  }
  switch (rope.scaling) {
    case RopeConfig::Scaling::kNone:
      return absl::OkStatus();
    case RopeConfig::Scaling::kLinear:
      return CheckFactor("rope scaling factor", rope.factor, 1);
    case RopeConfig::Scaling::kLlama3:
      BATON_RETURN_IF_ERROR(CheckFactor("rope scaling factor", rope.factor, 1));
      BATON_RETURN_IF_ERROR(
          CheckCount("original context of rope scaling", rope.original_context, kMaxContext));
      if (!(rope.low_freq_factor > 0)) {
        return Refuse("rope low_freq_factor", rope.low_freq_factor, "a number above 0");
      }
      if (!(rope.high_freq_factor > rope.low_freq_factor) ||
          !std::isfinite(rope.high_freq_factor)) {
        return Refuse("rope high_freq_factor", rope.high_freq_factor,
                      "a number above low_freq_factor");
      }
      return absl::OkStatus();
    case RopeConfig::Scaling::kYarn:
      BATON_RETURN_IF_ERROR(CheckFactor("rope scaling factor", rope.factor, 1));
      BATON_RETURN_IF_ERROR(
          CheckCount("original context of rope scaling", rope.original_context, kMaxContext));
      if (!(rope.beta_slow > 0) || !(rope.beta_fast >= rope.beta_slow) ||
          !std::isfinite(rope.beta_fast)) {
        return Refuse("rope beta_fast", rope.beta_fast, "a number of at least beta_slow, above 0");
      }
      return CheckFactor("rope attention factor", rope.attention_factor, 0);
    case RopeConfig::Scaling::kFactors:
      return CheckFactors(rope.frequency_factors, rope);
    case RopeConfig::Scaling::kLongRope:
      break;
  }
  BATON_RETURN_IF_ERROR(
      CheckCount("original context of rope scaling", rope.original_context, kMaxContext));
  BATON_RETURN_IF_ERROR(CheckFactor("rope attention factor", rope.attention_factor, 1e-3f));
  BATON_RETURN_IF_ERROR(CheckFactors(rope.short_factors, rope));
  return CheckFactors(rope.long_factors, rope);
}

}  // namespace

absl::Status CheckCount(const char* field, int64_t value, int64_t limit) {
  if (value >= 1 && value <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, ", allowed are 1 to ", limit));
}

absl::Status CheckConfig(const ModelConfig& config) {
  BATON_RETURN_IF_ERROR(CheckCount("number of layers", config.layers, kMaxLayers));
  BATON_RETURN_IF_ERROR(CheckCount("hidden size", config.hidden, kMaxHidden));
  BATON_RETURN_IF_ERROR(CheckCount("intermediate size", config.intermediate, kMaxIntermediate));
  BATON_RETURN_IF_ERROR(CheckCount("number of attention heads", config.query_heads, kMaxHeads));
  BATON_RETURN_IF_ERROR(CheckCount("number of KV heads", config.kv_heads, kMaxHeads));
  BATON_RETURN_IF_ERROR(CheckCount("head dimension", config.head_dim, kMaxHeadDim));
  BATON_RETURN_IF_ERROR(CheckCount("vocabulary size", config.vocab_size, kMaxVocab));
  BATON_RETURN_IF_ERROR(CheckCount("context length", config.context_length, kMaxContext));
  if (config.query_heads % config.kv_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("number of attention heads is ", config.query_heads,
                     ", needed a multiple of the number of KV heads, ", config.kv_heads));
  }
  if (config.head_dim % 2 != 0) {
    return Refuse("head dimension", config.head_dim, "an even number");
  }
  if (!std::isfinite(config.norm_epsilon) || config.norm_epsilon <= 0 || config.norm_epsilon > 1) {
    return Refuse("epsilon of the norm", config.norm_epsilon, "a number above 0 and at most 1");
  }
  for (const int32_t id : config.eos_ids) {
    if (id < 0 || id >= config.vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("end-of-sequence id is ", id, ", the vocabulary has ", config.vocab_size));
    }
  }
  if (config.window_rope.has_value()) {
    BATON_RETURN_IF_ERROR(CheckRope(*config.window_rope, config.head_dim));
  }
  return CheckRope(config.rope, config.head_dim);
}

}  // namespace baton::models
