#include "models/hf_decoder_config.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "models/config_check.h"
#include "models/hf_rope.h"

namespace baton::models {

absl::StatusOr<int64_t> HfCount(const HfConfig& hf, const std::string& key, int64_t limit,
                                std::optional<int64_t> absent) {
  BATON_ASSIGN_OR_RETURN(const int64_t value, hf.GetInt(key, absent));
  if (value < 1 || value > limit) {
    return hf.Refusal(key, absl::StrCat("allowed are 1 to ", limit));
  }
  return value;
}

absl::Status HfAllowOnlyText(const HfConfig& hf, const std::string& key, const std::string& only) {
  BATON_ASSIGN_OR_RETURN(const std::string value, hf.GetString(key, only));
  if (value == only) return absl::OkStatus();
  return hf.Refusal(key, absl::StrCat("only \"", only, "\" can be computed"));
}

absl::Status HfAllowOnlyBool(const HfConfig& hf, const std::string& key, bool only) {
  BATON_ASSIGN_OR_RETURN(const bool value, hf.GetBool(key, only));
  if (value == only) return absl::OkStatus();
  return hf.Refusal(key, absl::StrCat("only ", only ? "true" : "false", " can be computed"));
}

absl::Status HfAllowOnlyOne(const HfConfig& hf, const std::string& key) {
  BATON_ASSIGN_OR_RETURN(const double value, hf.GetFloat(key, 1.0));
  return value == 1 ? absl::OkStatus() : hf.Refusal(key, "only 1 can be computed");
}

absl::Status HfAllowNone(const HfConfig& hf, const std::string& key) {
  if (!hf.Has(key)) return absl::OkStatus();
  return hf.Refusal(key, "models with it cannot be computed");
}

absl::Status HfAllowBlockFp8(const HfConfig& hf) {
  if (!hf.Has("quantization_config")) return absl::OkStatus();
  BATON_ASSIGN_OR_RETURN(const HfConfig quantisation, hf.GetObject("quantization_config"));
  BATON_ASSIGN_OR_RETURN(const std::string method, quantisation.GetString("quant_method"));
  if (method == "awq" || method == "gptq") return absl::OkStatus();  // ReadInt4 says the rest
  if (method != "fp8") {
    return quantisation.Refusal("quant_method",
                                "\"fp8\", \"awq\" and \"gptq\" can be computed in this family");
  }
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(quantisation, "fmt", "e4m3"));
  BATON_ASSIGN_OR_RETURN(const std::vector<int64_t> block,
                         quantisation.GetIntList("weight_block_size"));
  if (block.size() == 2 && block[0] >= 1 && block[1] >= 1) return absl::OkStatus();
  return quantisation.Refusal("weight_block_size", "needed two numbers above 0");
}

absl::StatusOr<ModelConfig> ReadHfDecoder(const HfConfig& hf) {
  ModelConfig config;
  BATON_ASSIGN_OR_RETURN(config.layers, HfCount(hf, "num_hidden_layers", kMaxLayers));
  BATON_ASSIGN_OR_RETURN(config.hidden, HfCount(hf, "hidden_size", kMaxHidden));
  BATON_ASSIGN_OR_RETURN(config.intermediate, HfCount(hf, "intermediate_size", kMaxIntermediate));
  BATON_ASSIGN_OR_RETURN(config.query_heads, HfCount(hf, "num_attention_heads", kMaxHeads));
  BATON_ASSIGN_OR_RETURN(config.vocab_size, HfCount(hf, "vocab_size", kMaxVocab));
  BATON_ASSIGN_OR_RETURN(config.context_length,
                         HfCount(hf, "max_position_embeddings", kMaxContext, 2048));
  BATON_ASSIGN_OR_RETURN(const double epsilon, hf.GetFloat("rms_norm_eps", 1e-6));
  config.norm_epsilon = static_cast<float>(epsilon);
  BATON_ASSIGN_OR_RETURN(config.tied_embeddings, hf.GetBool("tie_word_embeddings", false));
  BATON_ASSIGN_OR_RETURN(const std::vector<int64_t> eos_ids, hf.GetIntList("eos_token_id"));
  for (const int64_t id : eos_ids) AddEosId(id, config);
  return config;
}

namespace {

absl::Status ReadHeadCounts(const HfConfig& hf, ModelConfig& config) {
  BATON_ASSIGN_OR_RETURN(config.kv_heads,
                         HfCount(hf, "num_key_value_heads", kMaxHeads, config.query_heads));
  if (!hf.Has("head_dim") && config.hidden % config.query_heads != 0) {
    return hf.Refusal("hidden_size", absl::StrCat("no multiple of the ", config.query_heads,
                                                  " attention heads, and there is no head_dim"));
  }
  BATON_ASSIGN_OR_RETURN(config.head_dim,
                         HfCount(hf, "head_dim", kMaxHeadDim, config.hidden / config.query_heads));
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadHfHeads(const HfConfig& hf, ModelConfig& config) {
  BATON_RETURN_IF_ERROR(ReadHeadCounts(hf, config));
  BATON_ASSIGN_OR_RETURN(config.rope, ReadHfRope(hf, config.head_dim));
  return absl::OkStatus();
}

absl::Status ReadHfPartialHeads(const HfConfig& hf, ModelConfig& config) {
  BATON_RETURN_IF_ERROR(ReadHeadCounts(hf, config));
  BATON_ASSIGN_OR_RETURN(config.rope, ReadHfPartialRope(hf, config.head_dim));
  return absl::OkStatus();
}

void AddEosId(int64_t id, ModelConfig& config) {
  std::vector<int32_t>& ids = config.eos_ids;
  if (id < 0 || id >= config.vocab_size) return;
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(static_cast<int32_t>(id));
}

absl::StatusOr<std::vector<int64_t>> ReadHfWindows(const HfConfig& hf, int64_t layers,
                                                   int64_t window, bool (*slides)(int64_t layer)) {
  std::vector<int64_t> windows;
  if (!hf.Has("layer_types")) {
    for (int64_t i = 0; i < layers; ++i) windows.push_back(slides(i) ? window : 0);
    return windows;
  }
  BATON_ASSIGN_OR_RETURN(const std::vector<std::string> types, hf.GetStringList("layer_types"));
  if (static_cast<int64_t>(types.size()) != layers) {
    return hf.Refusal("layer_types", absl::StrCat("needed one for each of ", layers, " layers"));
  }
  for (const std::string& type : types) {
    if (type != "sliding_attention" && type != "full_attention") {
      return hf.Refusal("layer_types", "allowed are \"sliding_attention\" and \"full_attention\"");
    }
    windows.push_back(type == "sliding_attention" ? window : 0);
  }
  return windows;
}

absl::StatusOr<int64_t> ReadHfWindow(const HfConfig& hf) {
  if (!hf.Has("sliding_window")) return 0;
  return HfCount(hf, "sliding_window", kMaxContext);
}

absl::StatusOr<std::vector<int64_t>> ReadQwenWindows(const HfConfig& hf, int64_t layers) {
  BATON_ASSIGN_OR_RETURN(const bool used, hf.GetBool("use_sliding_window", false));
  if (!used) return ReadHfWindows(hf, layers, 0, [](int64_t) { return false; });
  BATON_ASSIGN_OR_RETURN(const int64_t window, ReadHfWindow(hf));
  BATON_ASSIGN_OR_RETURN(std::vector<int64_t> windows,
                         ReadHfWindows(hf, layers, window, [](int64_t) { return true; }));
  if (hf.Has("layer_types")) return windows;
  BATON_ASSIGN_OR_RETURN(const int64_t first, hf.GetInt("max_window_layers", layers));
  for (int64_t i = 0; i < std::min(first, layers); ++i) windows[i] = 0;
  return windows;
}

absl::StatusOr<ModelConfig> Checked(const Checkpoint& checkpoint, ModelConfig config) {
  config.architecture = checkpoint.architecture();
  if (checkpoint.gguf() != nullptr && checkpoint.gguf()->Has("general.name")) {
    BATON_ASSIGN_OR_RETURN(config.name, checkpoint.gguf()->GetString("general.name"));
  }
  // A folder's tokens that end a generation may be more than config.json says.
  const std::string generation = absl::StrCat(checkpoint.path(), "/generation_config.json");
  if (checkpoint.gguf() == nullptr && std::filesystem::exists(generation)) {
    BATON_ASSIGN_OR_RETURN(const auto ends, HfConfig::Read(generation));
    BATON_ASSIGN_OR_RETURN(const std::vector<int64_t> ids, ends->GetIntList("eos_token_id"));
    for (const int64_t id : ids) AddEosId(id, config);
  }
  const absl::Status checked = CheckConfig(config);
  if (checked.ok()) return config;
  return absl::InvalidArgumentError(absl::StrCat(checkpoint.path(), ": ", checked.message()));
}

}  // namespace baton::models
