#include "models/hf_config.h"

#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "models/gguf/mapped_file.h"

namespace baton::models {

using nlohmann::json;

absl::StatusOr<std::unique_ptr<const HfConfig>> HfConfig::Read(const std::string& path) {
  BATON_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const absl::Span<const uint8_t> bytes = file.bytes();
  if (static_cast<int64_t>(bytes.size()) > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", bytes.size(), " bytes, allowed are ", kMaxBytes));
  }
  std::unique_ptr<HfConfig> config(new HfConfig);
  config->path_ = path;
  config->text_.assign(bytes.begin(), bytes.end());
  try {
    config->json_ = json::parse(config->text_);
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.what()));
  }
  if (!config->json_.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is not a JSON object"));
  }
  return config;
}

const json* HfConfig::Find(const std::string& key) const {
  const auto at = json_.find(key);
  return at == json_.end() || at->is_null() ? nullptr : &*at;
}

bool HfConfig::Has(const std::string& key) const { return Find(key) != nullptr; }

absl::Status HfConfig::Refusal(const std::string& key, const std::string& problem) const {
  const json* value = Find(key);
  if (value == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": field ", prefix_, key, " is missing, ", problem));
  }
  std::string shown = value->dump(-1, ' ', true, json::error_handler_t::replace);
  if (shown.size() > 80) shown = shown.substr(0, 77) + "...";
  return absl::InvalidArgumentError(
      absl::StrCat(path_, ": field ", prefix_, key, " is ", shown, ", ", problem));
}

absl::StatusOr<std::string> HfConfig::GetString(const std::string& key,
                                                std::optional<std::string> absent) const {
  const json* value = Find(key);
  if (value == nullptr && absent.has_value()) return *absent;
  if (value == nullptr || !value->is_string()) return Refusal(key, "needed a string");
  return value->get<std::string>();
}

absl::StatusOr<int64_t> HfConfig::GetInt(const std::string& key,
                                         std::optional<int64_t> absent) const {
  const json* value = Find(key);
  if (value == nullptr && absent.has_value()) return *absent;
  if (value == nullptr) return Refusal(key, "needed a whole number");
  // Some tools write whole numbers as 2048.0.
  if (value->is_number_float()) {
    const double number = value->get<double>();
    if (number == std::floor(number) && std::fabs(number) < 9e15) {
      return static_cast<int64_t>(number);
    }
  }
  if (!value->is_number_integer() ||
      (value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX})) {
    return Refusal(key, "needed a whole number");
  }
  return value->get<int64_t>();
}

absl::StatusOr<double> HfConfig::GetFloat(const std::string& key,
                                          std::optional<double> absent) const {
  const json* value = Find(key);
  if (value == nullptr && absent.has_value()) return *absent;
  if (value == nullptr || !value->is_number()) return Refusal(key, "needed a number");
  return value->get<double>();
}

absl::StatusOr<bool> HfConfig::GetBool(const std::string& key, bool absent) const {
  const json* value = Find(key);
  if (value == nullptr) return absent;
  if (!value->is_boolean()) return Refusal(key, "needed true or false");
  return value->get<bool>();
}

absl::StatusOr<std::vector<int64_t>> HfConfig::GetIntList(const std::string& key) const {
  const json* value = Find(key);
  if (value == nullptr) return std::vector<int64_t>();
  const json list = value->is_array() ? *value : json::array({*value});
  std::vector<int64_t> numbers;
  for (const json& number : list) {
    if (!number.is_number_integer()) return Refusal(key, "needed whole numbers");
    numbers.push_back(number.get<int64_t>());
  }
  return numbers;
}

absl::StatusOr<std::vector<std::string>> HfConfig::GetStringList(const std::string& key) const {
  const json* value = Find(key);
  if (value == nullptr) return std::vector<std::string>();
  if (!value->is_array()) return Refusal(key, "needed a list of strings");
  std::vector<std::string> strings;
  for (const json& text : *value) {
    if (!text.is_string()) return Refusal(key, "needed a list of strings");
    strings.push_back(text.get<std::string>());
  }
  return strings;
}

absl::StatusOr<std::map<std::string, std::string>> HfConfig::GetStringMap(
    const std::string& key) const {
  const json* value = Find(key);
  if (value == nullptr || !value->is_object()) return Refusal(key, "needed an object");
  std::map<std::string, std::string> strings;
  for (const auto& [name, text] : value->items()) {
    if (!text.is_string()) return Refusal(key, absl::StrCat("'", name, "' needs a string"));
    strings.emplace(name, text.get<std::string>());
  }
  return strings;
}

absl::StatusOr<HfConfig> HfConfig::GetObject(const std::string& key) const {
  const json* value = Find(key);
  if (value == nullptr || !value->is_object()) return Refusal(key, "needed an object");
  HfConfig object;
  object.path_ = path_;
  object.prefix_ = absl::StrCat(prefix_, key, ".");
  object.json_ = *value;
  return object;
}

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

absl::Status ReadScaling(const HfConfig& config, const HfConfig& scaling, RopeConfig& rope) {
  const std::string key = scaling.Has("rope_type") ? "rope_type" : "type";
  BATON_ASSIGN_OR_RETURN(const std::string type, scaling.GetString(key, "default"));
  if (type == "default") return absl::OkStatus();
  if (type != "linear" && type != "llama3" && type != "yarn") {
    return scaling.Refusal(key, "allowed are default, linear, llama3 and yarn");
  }
  BATON_ASSIGN_OR_RETURN(const double factor, scaling.GetFloat("factor"));
  rope.factor = static_cast<float>(factor);
  if (type == "linear") {
    rope.scaling = RopeConfig::Scaling::kLinear;
    return absl::OkStatus();
  }
  if (type == "yarn") {
    rope.scaling = RopeConfig::Scaling::kYarn;
    return ReadYarn(config, scaling, rope);
  }
  rope.scaling = RopeConfig::Scaling::kLlama3;
  BATON_ASSIGN_OR_RETURN(const double low, scaling.GetFloat("low_freq_factor"));
  BATON_ASSIGN_OR_RETURN(const double high, scaling.GetFloat("high_freq_factor"));
  BATON_ASSIGN_OR_RETURN(rope.original_context, scaling.GetInt("original_max_position_embeddings"));
  rope.low_freq_factor = static_cast<float>(low);
  rope.high_freq_factor = static_cast<float>(high);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RopeConfig> ReadHfRope(const HfConfig& config, int32_t head_dim) {
  RopeConfig rope;
  rope.rotary_dim = head_dim;
  rope.style = device::RopeStyle::kHalf;
  BATON_ASSIGN_OR_RETURN(double base, config.GetFloat("rope_theta", 10000.0));
  if (config.Has("rope_parameters")) {
    BATON_ASSIGN_OR_RETURN(const HfConfig parameters, config.GetObject("rope_parameters"));
    BATON_ASSIGN_OR_RETURN(base, parameters.GetFloat("rope_theta", base));
    BATON_ASSIGN_OR_RETURN(const double partial, parameters.GetFloat("partial_rotary_factor", 1.0));
    if (partial != 1) {
      return parameters.Refusal("partial_rotary_factor", "only 1 can be computed");
    }
    BATON_RETURN_IF_ERROR(ReadScaling(config, parameters, rope));
  } else if (config.Has("rope_scaling")) {
    BATON_ASSIGN_OR_RETURN(const HfConfig scaling, config.GetObject("rope_scaling"));
    BATON_RETURN_IF_ERROR(ReadScaling(config, scaling, rope));
  }
  rope.base = static_cast<float>(base);
  return rope;
}

}  // namespace baton::models
