#include "models/text/folder_texts.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "models/gguf/gguf_file.h"
#include "models/gguf/mapped_file.h"

namespace baton::models::text {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kMaxBytes = size_t{256} << 20;

absl::StatusOr<std::string> ReadText(const fs::path& path) {
  BATON_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path.string()));
  if (file.bytes().size() > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": ", file.bytes().size(), " bytes, allowed are ", kMaxBytes));
  }
  return std::string(file.bytes().begin(), file.bytes().end());
}

absl::StatusOr<json> ReadObject(const fs::path& path) {
  BATON_ASSIGN_OR_RETURN(const std::string text, ReadText(path));
  json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (object.is_object()) return object;
  return absl::InvalidArgumentError(absl::StrCat(path.string(), ": is not a JSON object"));
}

// An empty object where there is no such file.
absl::StatusOr<json> ReadOptional(const fs::path& path) {
  if (!fs::exists(path)) return json::object();
  return ReadObject(path);
}

absl::Status Bad(const fs::path& path, const std::string& field, const std::string& needed) {
  return absl::InvalidArgumentError(
      absl::StrCat(path.string(), ": field ", field, " needs ", needed));
}

absl::StatusOr<int64_t> Count(const fs::path& path, const json& object, const std::string& field) {
  const auto found = object.find(field);
  if (found != object.end() && found->is_number_integer() && found->get<int64_t>() > 0) {
    return found->get<int64_t>();
  }
  return Bad(path, field, "a whole number above 0");
}

// A number or a list of numbers.
absl::StatusOr<std::vector<int32_t>> Ids(const fs::path& path, const json& object) {
  std::vector<int32_t> ids;
  const auto found = object.find("eos_token_id");
  if (found == object.end() || found->is_null()) return ids;
  const json list = found->is_array() ? *found : json::array({*found});
  for (const json& id : list) {
    if (!id.is_number_integer()) return Bad(path, "eos_token_id", "whole numbers");
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

// A template, or the one called "default" of a list.
absl::StatusOr<std::string> Template(const fs::path& path, const json& object) {
  const auto found = object.find("chat_template");
  if (found == object.end() || found->is_null()) return std::string();
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return Bad(path, "chat_template", "a string or a list");
  for (const json& entry : *found) {
    if (entry.is_object() && entry.value("name", "") == "default") {
      return entry.value("template", "");
    }
  }
  return Bad(path, "chat_template", "an entry named default");
}

absl::Status ReadTokenizerConfig(const fs::path& folder, FolderTexts& texts) {
  const fs::path path = folder / "tokenizer_config.json";
  BATON_ASSIGN_OR_RETURN(const json config, ReadOptional(path));
  for (const char* name : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    const auto found = config.find(name);
    if (found == config.end()) continue;
    // Older files write {"content": "<s>", ...}.
    const json& token = found->is_object() ? found->value("content", json()) : *found;
    if (token.is_string()) texts.named_tokens[name] = token.get<std::string>();
  }
  const auto add_bos = config.find("add_bos_token");
  if (add_bos != config.end() && add_bos->is_boolean()) texts.add_bos = add_bos->get<bool>();
  BATON_ASSIGN_OR_RETURN(texts.chat_template, Template(path, config));
  if (fs::exists(folder / "chat_template.jinja")) {
    BATON_ASSIGN_OR_RETURN(texts.chat_template, ReadText(folder / "chat_template.jinja"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FolderTexts> ReadFolderTexts(const std::string& folder) {
  const fs::path path(folder);
  FolderTexts texts;
  BATON_ASSIGN_OR_RETURN(texts.tokenizer_json, ReadText(path / "tokenizer.json"));
  BATON_RETURN_IF_ERROR(ReadTokenizerConfig(path, texts));
  BATON_ASSIGN_OR_RETURN(const json config, ReadObject(path / "config.json"));
  BATON_ASSIGN_OR_RETURN(texts.vocab_size, Count(path / "config.json", config, "vocab_size"));
  BATON_ASSIGN_OR_RETURN(texts.context_length, ReadContextLength(folder));
  const fs::path generation_path = path / "generation_config.json";
  BATON_ASSIGN_OR_RETURN(const json generation, ReadOptional(generation_path));
  BATON_ASSIGN_OR_RETURN(texts.eos_ids, Ids(generation_path, generation));
  if (texts.eos_ids.empty()) {
    BATON_ASSIGN_OR_RETURN(texts.eos_ids, Ids(path / "config.json", config));
  }
  return texts;
}

absl::StatusOr<int64_t> ReadContextLength(const std::string& path) {
  if (fs::is_directory(path)) {
    const fs::path config_path = fs::path(path) / "config.json";
    BATON_ASSIGN_OR_RETURN(const json config, ReadObject(config_path));
    return Count(config_path, config, "max_position_embeddings");
  }
  BATON_ASSIGN_OR_RETURN(const auto file, GgufFile::Open(path));
  return ReadContextLength(*file);
}

absl::StatusOr<int64_t> ReadContextLength(const GgufFile& file) {
  BATON_ASSIGN_OR_RETURN(const std::string architecture, file.GetString("general.architecture"));
  return file.GetInt(absl::StrCat(architecture, ".context_length"));
}

std::string DefaultModelId(const std::string& path) {
  fs::path clean = fs::path(path).lexically_normal();
  if (clean.filename().empty()) clean = clean.parent_path();
  const std::string cache = clean.parent_path().parent_path().filename().string();
  if (clean.parent_path().filename() == "snapshots" && absl::StartsWith(cache, "models--")) {
    return absl::StrReplaceAll(cache.substr(8), {{"--", "/"}});
  }
  return clean.extension() == ".gguf" ? clean.stem().string() : clean.filename().string();
}

}  // namespace baton::models::text
