#include "models/hf_rope.h"

#include <cmath>
#include <string>
#include <vector>

#include "base/status_macros.h"

namespace baton::models {
namespace {

// The fields of yarn:
// https://github.com/huggingface/transformers/blob/main/src/transformers/modeling_rope_utils.py
absl::Status ReadYarn(const HfConfig& config, const HfConfig& scaling, RopeConfig& rope) {
  BATON_ASSIGN_OR_RETURN(const double beta_fast, scaling.GetFloat("beta_fast", 32.0));
  BATON_ASSIGN_OR_RETURN(const double beta_slow, scaling.GetFloat("beta_slow", 1.0));
  rope.beta_fast = static_cast<float>(beta_fast);
  rope.beta_slow = static_cast<float>(beta_slow);
  BATON_ASSIGN_OR_RETURN(rope.truncate, scaling.GetBool("truncate", true));
  BATON_ASSIGN_OR_RETURN(const int64_t trained_context,
                         config.GetInt("max_position_embeddings", 2048));
  BATON_ASSIGN_OR_RETURN(rope.original_context,
                         scaling.GetInt("original_max_position_embeddings", trained_context));
  if (scaling.Has("attention_factor")) {
    BATON_ASSIGN_OR_RETURN(const double factor, scaling.GetFloat("attention_factor"));
    if (!(factor > 0)) return scaling.Refusal("attention_factor", "needed more than 0");
    rope.attention_factor = static_cast<float>(factor);
    return absl::OkStatus();
  }
  BATON_ASSIGN_OR_RETURN(const double mscale, scaling.GetFloat("mscale", 0.0));
  BATON_ASSIGN_OR_RETURN(const double mscale_all_dim, scaling.GetFloat("mscale_all_dim", 0.0));
  if (mscale != 0 && mscale_all_dim != 0 && rope.factor > 1) {
    const double log_factor = std::log(rope.factor);
    rope.attention_factor = static_cast<float>((0.1 * mscale * log_factor + 1) /
                                               (0.1 * mscale_all_dim * log_factor + 1));
  }
  return absl::OkStatus();
}

absl::Status ReadLlama3(const HfConfig& scaling, RopeConfig& rope) {
  BATON_ASSIGN_OR_RETURN(const double low, scaling.GetFloat("low_freq_factor"));
  BATON_ASSIGN_OR_RETURN(const double high, scaling.GetFloat("high_freq_factor"));
  BATON_ASSIGN_OR_RETURN(rope.original_context, scaling.GetInt("original_max_position_embeddings"));
  rope.low_freq_factor = static_cast<float>(low);
  rope.high_freq_factor = static_cast<float>(high);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> ReadFactors(const HfConfig& scaling, const std::string& key) {
  BATON_ASSIGN_OR_RETURN(const std::vector<double> factors, scaling.GetFloatList(key));
  if (factors.empty()) return scaling.Refusal(key, "needed a list of numbers");
  return std::vector<float>(factors.begin(), factors.end());
}

// Phi-3 and Phi-4. The original context is a field beside rope_scaling in older files; how much
// longer the context has become sets the magnitude, unless the file does.
absl::Status ReadLongRope(const HfConfig& config, const HfConfig& scaling, RopeConfig& rope) {
  const std::string original = "original_max_position_embeddings";
  const HfConfig& place = scaling.Has(original) ? scaling : config;
  BATON_ASSIGN_OR_RETURN(rope.original_context, place.GetInt(original));
  if (rope.original_context < 2) return place.Refusal(original, "needed at least 2");
  BATON_ASSIGN_OR_RETURN(rope.short_factors, ReadFactors(scaling, "short_factor"));
  BATON_ASSIGN_OR_RETURN(rope.long_factors, ReadFactors(scaling, "long_factor"));
  BATON_ASSIGN_OR_RETURN(const int64_t context,
                         config.GetInt("max_position_embeddings", rope.original_context));
  const double factor = static_cast<double>(context) / static_cast<double>(rope.original_context);
  const double log_original = std::log(static_cast<double>(rope.original_context));
  const double magnitude = factor > 1 ? std::sqrt(1 + std::log(factor) / log_original) : 1.0;
  BATON_ASSIGN_OR_RETURN(const double given, scaling.GetFloat("attention_factor", magnitude));
  rope.attention_factor = static_cast<float>(given);
  return absl::OkStatus();
}

absl::Status ReadScaling(const HfConfig& config, const HfConfig& scaling, RopeConfig& rope) {
  using Scaling = RopeConfig::Scaling;
  const std::string key = scaling.Has("rope_type") ? "rope_type" : "type";
  BATON_ASSIGN_OR_RETURN(const std::string type, scaling.GetString(key, "default"));
  if (type == "default") return absl::OkStatus();
  if (type == "longrope" || type == "su") {  // its first name
    rope.scaling = Scaling::kLongRope;
    return ReadLongRope(config, scaling, rope);
  }
  if (type == "factors") {  // of GGUF files only (gguf_config.cc)
    rope.scaling = Scaling::kFactors;
    BATON_ASSIGN_OR_RETURN(rope.frequency_factors, ReadFactors(scaling, "factors"));
    return absl::OkStatus();
  }
  if (type != "linear" && type != "llama3" && type != "yarn") {
    return scaling.Refusal(key, "allowed are default, linear, llama3, yarn and longrope");
  }
  BATON_ASSIGN_OR_RETURN(const double factor, scaling.GetFloat("factor"));
  rope.factor = static_cast<float>(factor);
  if (type == "yarn") {
    rope.scaling = Scaling::kYarn;
    return ReadYarn(config, scaling, rope);
  }
  if (type == "llama3") {
    rope.scaling = Scaling::kLlama3;
    return ReadLlama3(scaling, rope);
  }
  rope.scaling = Scaling::kLinear;
  return absl::OkStatus();
}

// How many dimensions of a head are rotated. A GGUF file gives their number instead of the part.
absl::StatusOr<int32_t> RotaryDim(const HfConfig& config, const HfConfig& fields,
                                  int32_t head_dim) {
  if (config.Has("rotary_dim")) {
    BATON_ASSIGN_OR_RETURN(const int64_t dim, config.GetInt("rotary_dim"));
    if (dim >= 1 && dim <= head_dim) return static_cast<int32_t>(dim);
    return config.Refusal("rotary_dim", "allowed are 1 to " + std::to_string(head_dim));
  }
  BATON_ASSIGN_OR_RETURN(const double outer, config.GetFloat("partial_rotary_factor", 1.0));
  BATON_ASSIGN_OR_RETURN(const double part, fields.GetFloat("partial_rotary_factor", outer));
  if (part > 0 && part <= 1) return static_cast<int32_t>(head_dim * part);
  return fields.Refusal("partial_rotary_factor", "allowed are numbers above 0 and at most 1");
}

// Llama's GGUF files permute queries and keys for pairs of neighbours (gguf_config.cc).
absl::StatusOr<device::RopeStyle> StyleOf(const HfConfig& config) {
  BATON_ASSIGN_OR_RETURN(const bool interleaved, config.GetBool("rope_interleave", false));
  return interleaved ? device::RopeStyle::kInterleaved : device::RopeStyle::kHalf;
}

absl::Status RefusePart(const HfConfig& fields) {
  BATON_ASSIGN_OR_RETURN(const double part, fields.GetFloat("partial_rotary_factor", 1.0));
  if (part == 1) return absl::OkStatus();
  return fields.Refusal("partial_rotary_factor", "only 1 can be computed");
}

}  // namespace

absl::StatusOr<RopeConfig> ReadHfRopeParameters(const HfConfig& config, const HfConfig& parameters,
                                                double base, int32_t head_dim) {
  RopeConfig rope;
  BATON_ASSIGN_OR_RETURN(rope.style, StyleOf(config));
  BATON_ASSIGN_OR_RETURN(rope.rotary_dim, RotaryDim(config, parameters, head_dim));
  BATON_ASSIGN_OR_RETURN(base, parameters.GetFloat("rope_theta", base));
  rope.base = static_cast<float>(base);
  BATON_RETURN_IF_ERROR(ReadScaling(config, parameters, rope));
  return rope;
}

absl::StatusOr<RopeConfig> ReadHfPartialRope(const HfConfig& config, int32_t head_dim) {
  BATON_ASSIGN_OR_RETURN(const double base, config.GetFloat("rope_theta", 10000.0));
  if (config.Has("rope_parameters")) {
    BATON_ASSIGN_OR_RETURN(const HfConfig parameters, config.GetObject("rope_parameters"));
    return ReadHfRopeParameters(config, parameters, base, head_dim);
  }
  RopeConfig rope;
  BATON_ASSIGN_OR_RETURN(rope.style, StyleOf(config));
  rope.base = static_cast<float>(base);
  BATON_ASSIGN_OR_RETURN(rope.rotary_dim, RotaryDim(config, config, head_dim));
  if (config.Has("rope_scaling")) {
    BATON_ASSIGN_OR_RETURN(const HfConfig scaling, config.GetObject("rope_scaling"));
    BATON_RETURN_IF_ERROR(ReadScaling(config, scaling, rope));
  }
  return rope;
}

absl::StatusOr<RopeConfig> ReadHfRope(const HfConfig& config, int32_t head_dim) {
  BATON_RETURN_IF_ERROR(RefusePart(config));
  if (config.Has("rope_parameters")) {
    BATON_ASSIGN_OR_RETURN(const HfConfig parameters, config.GetObject("rope_parameters"));
    BATON_RETURN_IF_ERROR(RefusePart(parameters));
  }
  return ReadHfPartialRope(config, head_dim);
}

}  // namespace baton::models
