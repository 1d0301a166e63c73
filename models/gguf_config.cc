#include "models/gguf_config.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::models {
namespace {

using nlohmann::json;

absl::Status Refuse(const GgufFile& file, const std::string& key, const std::string& problem) {
  return absl::InvalidArgumentError(
      absl::StrCat(file.path(), ": metadata key '", key, "' ", problem));
}

// Fields as they are collected. Keys are those behind the architecture's name.
class Fields {
 public:
  Fields(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  const GgufFile& file() const { return file_; }
  std::string Key(const std::string& key) const { return prefix_ + key; }
  bool Has(const std::string& key) const { return file_.Has(Key(key)); }

  void Set(const std::string& field, json value) { fields_[field] = std::move(value); }
  // Takes a number over; an absent key leaves the field absent.
  absl::Status Uint(const std::string& field, const std::string& key) {
    return UintIn(fields_, "", field, key);
  }
  absl::Status Float(const std::string& field, const std::string& key) {
    return FloatIn(fields_, "", field, key);
  }
  // The same into a field of the object `object`.
  absl::Status FloatIn(json& object, const std::string& prefix, const std::string& field,
                       const std::string& key) {
    sources_[prefix + field] = Key(key);
    if (!Has(key)) return absl::OkStatus();
    BATON_ASSIGN_OR_RETURN(object[field], file_.GetFloat(Key(key)));
    return absl::OkStatus();
  }
  absl::Status UintIn(json& object, const std::string& prefix, const std::string& field,
                      const std::string& key) {
    sources_[prefix + field] = Key(key);
    if (!Has(key)) return absl::OkStatus();
    BATON_ASSIGN_OR_RETURN(object[field], file_.GetUint(Key(key)));
    return absl::OkStatus();
  }
  // A value of a field that is an object, where there is one.
  void SetWithin(const std::string& object, const std::string& field, json value) {
    if (fields_.contains(object)) fields_[object][field] = std::move(value);
  }
  void Source(const std::string& field, const std::string& key) { sources_[field] = Key(key); }
  absl::StatusOr<uint64_t> Number(const std::string& key, uint64_t absent) const {
    if (!Has(key)) return absent;
    return file_.GetUint(Key(key));
  }

  std::unique_ptr<const HfConfig> Done() {
    return HfConfig::FromFields(file_.path(), std::move(fields_), std::move(sources_));
  }

 private:
  const GgufFile& file_;
  const std::string prefix_;
  json fields_ = json::object();
  std::map<std::string, std::string> sources_;
};

// Metadata that other builds of an architecture use and that would change the result.
absl::Status RefuseUnsupported(const Fields& fields) {
  const GgufFile& file = fields.file();
  for (const char* key :
       {"attention.scale", "attention.clamp_kqv", "attention.max_alibi_bias", "logit_scale",
        "embedding_scale", "residual_scale", "attn_logit_softcapping", "final_logit_softcapping"}) {
    if (!fields.Has(key)) continue;
    BATON_ASSIGN_OR_RETURN(const double value, file.GetFloat(fields.Key(key)));
    if (value == 0) continue;
    return Refuse(file, fields.Key(key),
                  absl::StrCat("is ", value, ", changes the result and cannot be computed"));
  }
  if (!fields.Has("attention.causal")) return absl::OkStatus();
  BATON_ASSIGN_OR_RETURN(const bool causal, file.GetBool(fields.Key("attention.causal")));
  if (causal) return absl::OkStatus();
  return Refuse(file, fields.Key("attention.causal"), "is false, only true can be computed");
}

// A short vector of floats as a list.
absl::StatusOr<json> FactorsOf(const GgufFile& file, const std::string& name) {
  BATON_ASSIGN_OR_RETURN(const GgufTensor* tensor, file.GetTensor(name));
  if (tensor->type != GgmlType::kF32 || tensor->rank != 1 || tensor->dims[0] > 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": tensor ", Quoted(name), " is ", tensor->DimsText(), " of ",
                     GgmlTypeName(tensor->type), ", needed a short vector of F32"));
  }
  const float* values = reinterpret_cast<const float*>(tensor->data);
  return json(std::vector<float>(values, values + tensor->dims[0]));
}

absl::Status ReadYarn(Fields& fields, json& scaling) {
  const std::string prefix = "rope.scaling.", object = "rope_scaling.";
  const std::pair<const char*, const char*> taken[] = {{"beta_fast", "yarn_beta_fast"},
                                                       {"beta_slow", "yarn_beta_slow"}};
  for (const auto& [field, key] : taken) {
    BATON_RETURN_IF_ERROR(fields.FloatIn(scaling, object, field, prefix + key));
  }
  BATON_RETURN_IF_ERROR(fields.UintIn(scaling, object, "original_max_position_embeddings",
                                      prefix + "original_context_length"));
  const std::string multiplier = prefix + "yarn_log_multiplier";
  const bool scores = fields.Key("") == "deepseek2.";  // sharpened by YaRN too, not rotation alone
  if (scores && fields.Has(multiplier)) {
    BATON_ASSIGN_OR_RETURN(const double value, fields.file().GetFloat(fields.Key(multiplier)));
    scaling["mscale"] = scaling["mscale_all_dim"] = 10 * value;
  }
  for (const char* key :
       {"attn_factor", "yarn_attn_factor", "yarn_ext_factor", "yarn_log_multiplier"}) {
    if (!fields.Has(prefix + key) || (scores && prefix + key == multiplier)) continue;
    BATON_ASSIGN_OR_RETURN(const double value, fields.file().GetFloat(fields.Key(prefix + key)));
    if (value == 1) continue;
    return Refuse(fields.file(), fields.Key(prefix + key),
                  absl::StrCat("is ", value, ", only 1 can be computed"));
  }
  return absl::OkStatus();
}

// Tensors of divisors: one list for the model (early converters wrote one for each layer, all
// equal), or two of which the context chooses.
absl::Status ReadFactors(Fields& fields, json& scaling) {
  const GgufFile& file = fields.file();
  for (const std::string name : {"rope_freqs.weight", "blk.0.rope_freqs.weight"}) {
    if (file.Find(name) == nullptr) continue;
    if (scaling.contains("rope_type")) {
      return Refuse(
          file, fields.Key("rope.scaling.type"),
          absl::StrCat("is ", scaling["rope_type"].dump(), ", but the file also has tensor '", name,
                       "'; only one of them can be applied"));
    }
    scaling["rope_type"] = "factors";
    BATON_ASSIGN_OR_RETURN(scaling["factors"], FactorsOf(file, name));
    return absl::OkStatus();
  }
  if (file.Find("rope_factors_long.weight") == nullptr) {
    if (scaling.value("rope_type", "") != "longrope") return absl::OkStatus();
    return Refuse(file, fields.Key("rope.scaling.type"),
                  "is \"longrope\", but there is no tensor 'rope_factors_long.weight'");
  }
  scaling["rope_type"] = "longrope";
  BATON_ASSIGN_OR_RETURN(scaling["long_factor"], FactorsOf(file, "rope_factors_long.weight"));
  BATON_ASSIGN_OR_RETURN(scaling["short_factor"], FactorsOf(file, "rope_factors_short.weight"));
  BATON_RETURN_IF_ERROR(fields.UintIn(scaling, "rope_scaling.", "original_max_position_embeddings",
                                      "rope.scaling.original_context_length"));
  return fields.FloatIn(scaling, "rope_scaling.", "attention_factor", "rope.scaling.attn_factor");
}

absl::Status ReadRope(Fields& fields) {
  BATON_RETURN_IF_ERROR(fields.Uint("rotary_dim", "rope.dimension_count"));
  BATON_RETURN_IF_ERROR(fields.Float("rope_theta", "rope.freq_base"));
  json scaling = json::object();
  fields.Source("rope_scaling.rope_type", "rope.scaling.type");
  if (fields.Has("rope.scaling.type")) {
    BATON_ASSIGN_OR_RETURN(const std::string type,
                           fields.file().GetString(fields.Key("rope.scaling.type")));
    if (type != "none") scaling["rope_type"] = type;
  } else if (fields.Has("rope.scale_linear")) {  // files of 2023
    scaling["rope_type"] = "linear";
    BATON_RETURN_IF_ERROR(fields.FloatIn(scaling, "rope_scaling.", "factor", "rope.scale_linear"));
  }
  if (scaling.contains("rope_type")) {
    BATON_RETURN_IF_ERROR(
        fields.FloatIn(scaling, "rope_scaling.", "factor", "rope.scaling.factor"));
    if (scaling["rope_type"] == "yarn") BATON_RETURN_IF_ERROR(ReadYarn(fields, scaling));
  }
  BATON_RETURN_IF_ERROR(ReadFactors(fields, scaling));
  if (!scaling.empty()) fields.Set("rope_scaling", std::move(scaling));
  return absl::OkStatus();
}

absl::Status ReadEnds(Fields& fields) {
  const GgufFile& file = fields.file();
  BATON_RETURN_IF_ERROR(fields.Uint("vocab_size", "vocab_size"));
  const GgufTensor* embedding = file.Find("token_embd.weight");
  if (!fields.Has("vocab_size") && embedding != nullptr) {
    fields.Set("vocab_size", embedding->dims[1]);
  }
  fields.Set("tie_word_embeddings", file.Find("output.weight") == nullptr);
  json ends = json::array();
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    if (!file.Has(key)) continue;
    BATON_ASSIGN_OR_RETURN(const int64_t id, file.GetInt(key));
    ends.push_back(id);
  }
  fields.Set("eos_token_id", std::move(ends));
  return absl::OkStatus();
}

absl::Status ReadHeads(Fields& fields) {
  BATON_RETURN_IF_ERROR(fields.Uint("num_key_value_heads", "attention.head_count_kv"));
  BATON_RETURN_IF_ERROR(fields.Uint("head_dim", "attention.key_length"));
  if (!fields.Has("attention.value_length")) return absl::OkStatus();
  const GgufFile& file = fields.file();
  BATON_ASSIGN_OR_RETURN(const uint64_t value, file.GetUint(fields.Key("attention.value_length")));
  BATON_ASSIGN_OR_RETURN(const uint64_t key, fields.Number("attention.key_length", value));
  // A head dimension that none can have is refused by its own key later.
  constexpr uint64_t kHeadDimMax = 1 << 16;
  if (value == key || key == 0 || key > kHeadDimMax) return absl::OkStatus();
  return Refuse(file, fields.Key("attention.value_length"),
                absl::StrCat("is ", value, ", needed the head dimension of the keys, ", key));
}

// 0 means none.
absl::Status ReadWindow(Fields& fields) {
  BATON_ASSIGN_OR_RETURN(const uint64_t window, fields.Number("attention.sliding_window", 0));
  return window == 0 ? absl::OkStatus() : fields.Uint("sliding_window", "attention.sliding_window");
}

absl::Status ReadExperts(Fields& fields, const std::string& count) {
  BATON_RETURN_IF_ERROR(fields.Uint(count, "expert_count"));
  return fields.Uint("num_experts_per_tok", "expert_used_count");
}

// Mistral and Mixtral are Llama to llama.cpp.
absl::Status ReadLlama(Fields& fields) {
  fields.Set("rope_interleave", true);  // the converter permutes queries and keys for it
  BATON_RETURN_IF_ERROR(ReadHeads(fields));
  BATON_RETURN_IF_ERROR(ReadWindow(fields));
  BATON_ASSIGN_OR_RETURN(const uint64_t window, fields.Number("attention.sliding_window", 0));
  if (window > 0) fields.Set("model_type", "mistral");
  BATON_ASSIGN_OR_RETURN(const uint64_t experts, fields.Number("expert_count", 0));
  if (experts == 0) return absl::OkStatus();
  fields.Set("model_type", "mixtral");
  return ReadExperts(fields, "num_local_experts");
}

absl::Status ReadDense(Fields& fields) {
  BATON_RETURN_IF_ERROR(ReadHeads(fields));
  return ReadWindow(fields);
}

absl::Status ReadQwen3Moe(Fields& fields) {
  BATON_RETURN_IF_ERROR(ReadHeads(fields));
  BATON_RETURN_IF_ERROR(fields.Uint("moe_intermediate_size", "expert_feed_forward_length"));
  fields.Set("norm_topk_prob", true);
  return ReadExperts(fields, "num_experts");
}

// Every sixth layer sees all positions, unless the file says otherwise: by another period, or layer
// by layer.
absl::StatusOr<json> GemmaLayerTypes(Fields& fields, uint64_t layers) {
  constexpr uint64_t kPeriod = 6, kMaxLayers = 4096;
  const std::string key = "attention.sliding_window_pattern";
  if (layers > kMaxLayers) return json();  // the reader refuses the count
  std::vector<int64_t> slides;
  absl::StatusOr<uint64_t> period = fields.Number(key, kPeriod);
  if (!period.ok()) {
    BATON_ASSIGN_OR_RETURN(slides, fields.file().GetInts(fields.Key(key)));
  } else {
    if (*period == 0) return Refuse(fields.file(), fields.Key(key), "is 0, needed at least 1");
    for (uint64_t i = 0; i < layers; ++i) slides.push_back((i + 1) % *period != 0 ? 1 : 0);
  }
  json types = json::array();
  for (const int64_t one : slides) {
    types.push_back(one != 0 ? "sliding_attention" : "full_attention");
  }
  return types;
}

// The 27B model alone, which is the one of 62 layers, scales scores by hidden size / heads instead
// of by the head dimension; no key says so.
absl::Status ReadGemma3(Fields& fields) {
  BATON_RETURN_IF_ERROR(ReadDense(fields));
  BATON_ASSIGN_OR_RETURN(const uint64_t layers, fields.Number("block_count", 0));
  fields.Source("layer_types", "attention.sliding_window_pattern");
  BATON_ASSIGN_OR_RETURN(json types, GemmaLayerTypes(fields, layers));
  fields.Set("layer_types", std::move(types));
  BATON_RETURN_IF_ERROR(fields.Float("rope_local_base_freq", "rope.freq_base_swa"));
  BATON_ASSIGN_OR_RETURN(const uint64_t head_dim, fields.Number("attention.key_length", 256));
  BATON_ASSIGN_OR_RETURN(const uint64_t hidden, fields.Number("embedding_length", 0));
  BATON_ASSIGN_OR_RETURN(const uint64_t heads, fields.Number("attention.head_count", 0));
  fields.Set("query_pre_attn_scalar", layers == 62 && heads > 0 ? hidden / heads : head_dim);
  return absl::OkStatus();
}

absl::Status ReadGptOss(Fields& fields) {
  BATON_RETURN_IF_ERROR(ReadDense(fields));
  fields.SetWithin("rope_scaling", "truncate", false);  // as the family's config.json has it
  if (fields.Has("expert_feed_forward_length")) {
    BATON_RETURN_IF_ERROR(fields.Uint("intermediate_size", "expert_feed_forward_length"));
  }
  return ReadExperts(fields, "num_local_experts");
}

// Heads are those before absorption. Their sizes have keys of their own (.._mla) in files whose
// key_length is that of the compressed cache.
absl::Status ReadDeepseek2(Fields& fields) {
  BATON_ASSIGN_OR_RETURN(const uint64_t rotary, fields.Number("rope.dimension_count", 0));
  const std::string mla = fields.Has("attention.key_length_mla") ? "_mla" : "";
  BATON_ASSIGN_OR_RETURN(const uint64_t key, fields.Number("attention.key_length" + mla, 0));
  if (key <= rotary) {
    return Refuse(fields.file(), fields.Key("attention.key_length" + mla),
                  absl::StrCat("is ", key, ", needed more than the rotated part, ", rotary));
  }
  fields.Set("qk_nope_head_dim", key - rotary);
  BATON_RETURN_IF_ERROR(fields.Uint("qk_rope_head_dim", "rope.dimension_count"));
  BATON_RETURN_IF_ERROR(fields.Uint("v_head_dim", "attention.value_length" + mla));
  BATON_RETURN_IF_ERROR(fields.Uint("q_lora_rank", "attention.q_lora_rank"));
  BATON_RETURN_IF_ERROR(fields.Uint("kv_lora_rank", "attention.kv_lora_rank"));
  BATON_RETURN_IF_ERROR(ReadExperts(fields, "n_routed_experts"));
  BATON_RETURN_IF_ERROR(fields.Uint("n_shared_experts", "expert_shared_count"));
  BATON_RETURN_IF_ERROR(fields.Uint("moe_intermediate_size", "expert_feed_forward_length"));
  BATON_RETURN_IF_ERROR(fields.Uint("first_k_dense_replace", "leading_dense_block_count"));
  BATON_RETURN_IF_ERROR(fields.Float("routed_scaling_factor", "expert_weights_scale"));
  if (fields.Has("expert_weights_norm")) {
    BATON_ASSIGN_OR_RETURN(const bool norm,
                           fields.file().GetBool(fields.Key("expert_weights_norm")));
    fields.Set("norm_topk_prob", norm);
  }
  BATON_ASSIGN_OR_RETURN(const uint64_t groups, fields.Number("expert_group_count", 1));
  fields.Set("n_group", 1);
  fields.Set("topk_group", 1);
  if (groups > 1) {
    fields.Set("topk_method", "group_limited_greedy");
    BATON_RETURN_IF_ERROR(fields.Uint("n_group", "expert_group_count"));
    BATON_RETURN_IF_ERROR(fields.Uint("topk_group", "expert_group_used_count"));
  }
  constexpr uint64_t kSoftmax = 1, kSigmoid = 2;
  BATON_ASSIGN_OR_RETURN(const uint64_t gate, fields.Number("expert_gating_func", kSoftmax));
  if (gate == kSoftmax) return absl::OkStatus();
  if (gate != kSigmoid) {
    return Refuse(fields.file(), fields.Key("expert_gating_func"),
                  absl::StrCat("is ", gate, ", allowed are 1 (softmax) and 2 (sigmoid)"));
  }
  fields.Set("model_type", "deepseek_v3");
  fields.Set("topk_method", "noaux_tc");
  return absl::OkStatus();
}

struct Architecture {
  const char* name;        // general.architecture
  const char* model_type;  // of the family, unless `read` sets another
  absl::Status (*read)(Fields& fields);
};

constexpr Architecture kArchitectures[] = {
    {"llama", "llama", ReadLlama},           {"deepseek2", "deepseek_v2", ReadDeepseek2},
    {"gemma3", "gemma3_text", ReadGemma3},   {"gpt-oss", "gpt_oss", ReadGptOss},
    {"olmo2", "olmo2", ReadDense},           {"phi3", "phi3", ReadDense},
    {"qwen2", "qwen2", ReadDense},           {"qwen3", "qwen3", ReadDense},
    {"qwen3moe", "qwen3_moe", ReadQwen3Moe},
};

absl::Status ReadShared(Fields& fields) {
  const std::pair<const char*, const char*> counts[] = {
      {"num_hidden_layers", "block_count"},
      {"hidden_size", "embedding_length"},
      {"intermediate_size", "feed_forward_length"},
      {"num_attention_heads", "attention.head_count"},
      {"max_position_embeddings", "context_length"}};
  for (const auto& [field, key] : counts) BATON_RETURN_IF_ERROR(fields.Uint(field, key));
  BATON_RETURN_IF_ERROR(fields.Float("rms_norm_eps", "attention.layer_norm_rms_epsilon"));
  BATON_RETURN_IF_ERROR(ReadRope(fields));
  return ReadEnds(fields);
}

}  // namespace

absl::StatusOr<std::unique_ptr<const HfConfig>> ReadGgufConfig(const GgufFile& file) {
  BATON_ASSIGN_OR_RETURN(const std::string name, file.GetString("general.architecture"));
  Fields fields(file, name + ".");
  fields.Set("model_type", name);
  for (const Architecture& architecture : kArchitectures) {
    if (name != architecture.name) continue;
    fields.Set("model_type", architecture.model_type);
    BATON_RETURN_IF_ERROR(RefuseUnsupported(fields));
    BATON_RETURN_IF_ERROR(ReadShared(fields));
    BATON_RETURN_IF_ERROR(architecture.read(fields));
  }
  return fields.Done();
}

}  // namespace baton::models
