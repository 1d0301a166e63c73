#include "models/llama_config.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "models/config_check.h"
#include "models/hf_decoder_config.h"

namespace baton::models {
namespace {

absl::Status GgufRefusal(const GgufFile& file, absl::string_view key, absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat(file.path(), ": metadata key '", key, "' ", problem));
}

absl::StatusOr<int64_t> GgufCount(const GgufFile& file, const std::string& key, int64_t limit) {
  BATON_ASSIGN_OR_RETURN(const uint64_t value, file.GetUint(key));
  if (value < 1 || value > static_cast<uint64_t>(limit)) {
    return GgufRefusal(file, key, absl::StrCat("is ", value, ", allowed are 1 to ", limit));
  }
  return static_cast<int64_t>(value);
}

absl::StatusOr<int64_t> GgufCountOr(const GgufFile& file, const std::string& key, int64_t limit,
                                    int64_t absent) {
  return file.Has(key) ? GgufCount(file, key, limit) : absl::StatusOr<int64_t>(absent);
}

absl::StatusOr<float> GgufFloatOr(const GgufFile& file, const std::string& key, float absent) {
  if (!file.Has(key)) return absent;
  BATON_ASSIGN_OR_RETURN(const double value, file.GetFloat(key));
  return static_cast<float>(value);
}

// Metadata that other builds of the architecture use and that would change the result.
absl::Status RefuseUnsupportedGguf(const GgufFile& file) {
  for (const char* key : {"llama.expert_count", "llama.attention.sliding_window"}) {
    if (!file.Has(key)) continue;
    BATON_ASSIGN_OR_RETURN(const uint64_t value, file.GetUint(key));
    if (value != 0) {
      return GgufRefusal(file, key, absl::StrCat("is ", value, ", only 0 can be computed"));
    }
  }
  for (const char* key :
       {"llama.attention.scale", "llama.attention.clamp_kqv", "llama.attention.max_alibi_bias",
        "llama.logit_scale", "llama.embedding_scale", "llama.residual_scale"}) {
    if (file.Has(key)) return GgufRefusal(file, key, "changes the result and cannot be computed");
  }
  if (file.Has("llama.attention.causal")) {
    BATON_ASSIGN_OR_RETURN(const bool causal, file.GetBool("llama.attention.causal"));
    if (!causal) {
      return GgufRefusal(file, "llama.attention.causal", "is false, only true can be computed");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> GgufFrequencyFactors(const Checkpoint& checkpoint,
                                                        const std::string& name) {
  BATON_ASSIGN_OR_RETURN(const device::StoredTensor stored, checkpoint.Get(name));
  if (stored.dtype != device::DType::kF32 || stored.rows != 1 || stored.cols > kMaxHeadDim) {
    return absl::InvalidArgumentError(absl::StrCat(
        checkpoint.path(), ": tensor '", name, "' is [", stored.rows, ", ", stored.cols, "] of ",
        std::string(device::DTypeName(stored.dtype)), ", needed a short vector of f32"));
  }
  const float* factors = static_cast<const float*>(stored.data);
  return std::vector<float>(factors, factors + stored.cols);
}

absl::Status ReadGgufYarn(const GgufFile& file, int64_t context, RopeConfig& rope) {
  const std::string prefix = "llama.rope.scaling.";
  BATON_ASSIGN_OR_RETURN(
      rope.original_context,
      GgufCountOr(file, prefix + "original_context_length", kMaxContext, context));
  BATON_ASSIGN_OR_RETURN(rope.beta_fast, GgufFloatOr(file, prefix + "yarn_beta_fast", 32.0f));
  BATON_ASSIGN_OR_RETURN(rope.beta_slow, GgufFloatOr(file, prefix + "yarn_beta_slow", 1.0f));
  for (const char* key :
       {"llama.rope.scaling.attn_factor", "llama.rope.scaling.yarn_attn_factor",
        "llama.rope.scaling.yarn_ext_factor", "llama.rope.scaling.yarn_log_multiplier"}) {
    BATON_ASSIGN_OR_RETURN(const float value, GgufFloatOr(file, key, 1.0f));
    if (value != 1.0f) {
      return GgufRefusal(file, key, absl::StrCat("is ", value, ", only 1 can be computed"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<RopeConfig> ReadGgufRope(const Checkpoint& checkpoint, const ModelConfig& config) {
  const GgufFile& file = *checkpoint.gguf();
  RopeConfig rope;
  rope.style = device::RopeStyle::kInterleaved;  // the converter permutes q and k for it
  BATON_ASSIGN_OR_RETURN(const int64_t dim, GgufCountOr(file, "llama.rope.dimension_count",
                                                        kMaxHeadDim, config.head_dim));
  rope.rotary_dim = static_cast<int32_t>(dim);
  BATON_ASSIGN_OR_RETURN(rope.base, GgufFloatOr(file, "llama.rope.freq_base", 10000.0f));
  std::string type = "none";
  if (file.Has("llama.rope.scaling.type")) {
    BATON_ASSIGN_OR_RETURN(type, file.GetString("llama.rope.scaling.type"));
  } else if (file.Has("llama.rope.scale_linear")) {  // files of 2023
    type = "linear";
    BATON_ASSIGN_OR_RETURN(rope.factor, GgufFloatOr(file, "llama.rope.scale_linear", 1.0f));
  }
  BATON_ASSIGN_OR_RETURN(rope.factor, GgufFloatOr(file, "llama.rope.scaling.factor", rope.factor));
  if (type == "linear") {
    rope.scaling = RopeConfig::Scaling::kLinear;
  } else if (type == "yarn") {
    rope.scaling = RopeConfig::Scaling::kYarn;
    BATON_RETURN_IF_ERROR(ReadGgufYarn(file, config.context_length, rope));
  } else if (type != "none") {
    return GgufRefusal(
        file, "llama.rope.scaling.type",
        absl::StrCat("is ", Quoted(type), ", allowed are 'none', 'linear' and 'yarn'"));
  }
  // One vector for the model; early converters wrote one for each layer, all equal.
  for (const std::string name : {"rope_freqs.weight", "blk.0.rope_freqs.weight"}) {
    if (!checkpoint.Has(name)) continue;
    if (rope.scaling != RopeConfig::Scaling::kNone) {
      return GgufRefusal(file, "llama.rope.scaling.type",
                         absl::StrCat("is '", type, "', but the file also has tensor '", name,
                                      "'; only one of them can be applied"));
    }
    rope.scaling = RopeConfig::Scaling::kFactors;
    BATON_ASSIGN_OR_RETURN(rope.frequency_factors, GgufFrequencyFactors(checkpoint, name));
    break;
  }
  return rope;
}

absl::StatusOr<ModelConfig> ReadFromGguf(const Checkpoint& checkpoint) {
  const GgufFile& file = *checkpoint.gguf();
  BATON_RETURN_IF_ERROR(RefuseUnsupportedGguf(file));
  ModelConfig config;
  BATON_ASSIGN_OR_RETURN(config.layers, GgufCount(file, "llama.block_count", kMaxLayers));
  BATON_ASSIGN_OR_RETURN(config.hidden, GgufCount(file, "llama.embedding_length", kMaxHidden));
  BATON_ASSIGN_OR_RETURN(config.intermediate,
                         GgufCount(file, "llama.feed_forward_length", kMaxIntermediate));
  BATON_ASSIGN_OR_RETURN(config.query_heads,
                         GgufCount(file, "llama.attention.head_count", kMaxHeads));
  BATON_ASSIGN_OR_RETURN(config.kv_heads, GgufCountOr(file, "llama.attention.head_count_kv",
                                                      kMaxHeads, config.query_heads));
  BATON_ASSIGN_OR_RETURN(config.context_length,
                         GgufCount(file, "llama.context_length", kMaxContext));
  BATON_ASSIGN_OR_RETURN(const double epsilon,
                         file.GetFloat("llama.attention.layer_norm_rms_epsilon"));
  config.norm_epsilon = static_cast<float>(epsilon);
  const char* head_dim_key = "llama.attention.key_length";
  BATON_ASSIGN_OR_RETURN(config.head_dim, GgufCountOr(file, head_dim_key, kMaxHeadDim,
                                                      config.hidden / config.query_heads));
  BATON_ASSIGN_OR_RETURN(
      const int64_t value_length,
      GgufCountOr(file, "llama.attention.value_length", kMaxHeadDim, config.head_dim));
  if (value_length != config.head_dim) {
    return GgufRefusal(file, "llama.attention.value_length",
                       absl::StrCat("is ", value_length,
                                    ", needed the head dimension of the keys, ", config.head_dim));
  }
  if (!file.Has(head_dim_key) && config.hidden % config.query_heads != 0) {
    return GgufRefusal(file, "llama.embedding_length",
                       absl::StrCat("is ", config.hidden, ", no multiple of the ",
                                    config.query_heads, " heads, and there is no ", head_dim_key));
  }
  BATON_ASSIGN_OR_RETURN(const device::StoredTensor embedding, checkpoint.Get("token_embd.weight"));
  BATON_ASSIGN_OR_RETURN(config.vocab_size, GgufCountOr(file, "llama.vocab_size", kMaxVocab,
                                                        std::min(embedding.rows, kMaxVocab)));
  config.tied_embeddings = !checkpoint.Has("output.weight");
  BATON_ASSIGN_OR_RETURN(config.rope, ReadGgufRope(checkpoint, config));
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    if (!file.Has(key)) continue;
    BATON_ASSIGN_OR_RETURN(const int64_t id, file.GetInt(key));
    AddEosId(id, config);
  }
  if (file.Has("general.name")) {
    BATON_ASSIGN_OR_RETURN(config.name, file.GetString("general.name"));
  }
  return config;
}

absl::StatusOr<ModelConfig> ReadFromHf(const HfConfig& hf) {
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "hidden_act", "silu"));
  BATON_RETURN_IF_ERROR(HfAllowNone(hf, "sliding_window"));
  BATON_RETURN_IF_ERROR(HfAllowNone(hf, "quantization_config"));
  BATON_RETURN_IF_ERROR(HfAllowOnlyBool(hf, "mlp_bias", false));
  BATON_RETURN_IF_ERROR(HfAllowOnlyOne(hf, "partial_rotary_factor"));
  BATON_ASSIGN_OR_RETURN(ModelConfig config, ReadHfDecoder(hf));
  BATON_RETURN_IF_ERROR(ReadHfHeads(hf, config));
  return config;
}

}  // namespace

absl::StatusOr<ModelConfig> ReadLlamaConfig(const Checkpoint& checkpoint) {
  BATON_ASSIGN_OR_RETURN(ModelConfig config, checkpoint.gguf() != nullptr
                                                 ? ReadFromGguf(checkpoint)
                                                 : ReadFromHf(*checkpoint.hf_config()));
  return Checked(checkpoint, std::move(config));
}

}  // namespace baton::models
