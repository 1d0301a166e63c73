// A Hugging Face config.json: typed fields, errors that name file and field.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace baton::models {

// Immutable after reading. A field that is null counts as absent.
class HfConfig {
 public:
  static constexpr int64_t kMaxBytes = 16 << 20;

  static absl::StatusOr<std::unique_ptr<const HfConfig>> Read(const std::string& path);
  // What another file at `path` says, as fields. Errors call the field that `sources` has a name
  // for ("rope_scaling.factor" for one of an object) "metadata key '<name>'".
  static std::unique_ptr<const HfConfig> FromFields(const std::string& path, nlohmann::json fields,
                                                    std::map<std::string, std::string> sources);

  const std::string& path() const { return path_; }
  // The file's bytes; empty for FromFields.
  const std::string& text() const { return text_; }
  bool Has(const std::string& key) const;

  // InvalidArgument: absent (where there is no default), of another type, out of range.
  absl::StatusOr<std::string> GetString(const std::string& key,
                                        std::optional<std::string> absent = std::nullopt) const;
  absl::StatusOr<int64_t> GetInt(const std::string& key,
                                 std::optional<int64_t> absent = std::nullopt) const;
  absl::StatusOr<double> GetFloat(const std::string& key,
                                  std::optional<double> absent = std::nullopt) const;
  absl::StatusOr<bool> GetBool(const std::string& key, bool absent) const;
  // A number or a list of numbers; empty where absent.
  absl::StatusOr<std::vector<int64_t>> GetIntList(const std::string& key) const;
  // A list of strings; empty where absent.
  absl::StatusOr<std::vector<std::string>> GetStringList(const std::string& key) const;
  // An object whose values are all strings.
  absl::StatusOr<std::map<std::string, std::string>> GetStringMap(const std::string& key) const;
  // The object under `key` as a config of its own; its errors say "rope_scaling.factor".
  // InvalidArgument: not an object.
  absl::StatusOr<HfConfig> GetObject(const std::string& key) const;

  // A list of numbers; empty where absent.
  absl::StatusOr<std::vector<double>> GetFloatList(const std::string& key) const;

  // "<path>: field <field> is <value>, <problem>".
  absl::Status Refusal(const std::string& key, const std::string& problem) const;

 private:
  HfConfig() = default;
  const nlohmann::json* Find(const std::string& key) const;

  std::string path_;
  std::string prefix_;  // "rope_scaling." within that object
  std::string text_;
  nlohmann::json json_;
  std::map<std::string, std::string> sources_;  // of fields, with their prefixes
};

}  // namespace baton::models
