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

std::unique_ptr<const HfConfig> HfConfig::FromFields(const std::string& path, json fields,
                                                     std::map<std::string, std::string> sources) {
  std::unique_ptr<HfConfig> config(new HfConfig);
  config->path_ = path;
  config->json_ = std::move(fields);
  config->sources_ = std::move(sources);
  return config;
}

const json* HfConfig::Find(const std::string& key) const {
  const auto at = json_.find(key);
  return at == json_.end() || at->is_null() ? nullptr : &*at;
}

bool HfConfig::Has(const std::string& key) const { return Find(key) != nullptr; }

absl::Status HfConfig::Refusal(const std::string& key, const std::string& problem) const {
  const json* value = Find(key);
  const auto source = sources_.find(prefix_ + key);
  const std::string name = source == sources_.end()
                               ? absl::StrCat("field ", prefix_, key)
                               : absl::StrCat("metadata key '", source->second, "'");
  if (value == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", name, " is missing, ", problem));
  }
  std::string shown = value->dump(-1, ' ', true, json::error_handler_t::replace);
  if (shown.size() > 80) shown = shown.substr(0, 77) + "...";
  return absl::InvalidArgumentError(absl::StrCat(path_, ": ", name, " is ", shown, ", ", problem));
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

absl::StatusOr<std::vector<double>> HfConfig::GetFloatList(const std::string& key) const {
  const json* value = Find(key);
  if (value == nullptr) return std::vector<double>();
  if (!value->is_array()) return Refusal(key, "needed a list of numbers");
  std::vector<double> numbers;
  for (const json& number : *value) {
    if (!number.is_number()) return Refusal(key, "needed a list of numbers");
    numbers.push_back(number.get<double>());
  }
  return numbers;
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
  object.sources_ = sources_;
  return object;
}

}  // namespace baton::models
