// What the files of a Hugging Face folder beside tokenizer.json say about text: special tokens,
// chat template, tokens that end a generation.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/gguf/gguf_file.h"

namespace baton::models::text {

struct FolderTexts {
  std::string tokenizer_json;                       // the file's bytes
  std::map<std::string, std::string> named_tokens;  // bos_token, eos_token, unk_token, pad_token
  std::optional<bool> add_bos;                      // add_bos_token
  std::string chat_template;                        // empty where there is none
  std::vector<int32_t> eos_ids;  // of generation_config.json, otherwise of config.json
  int64_t vocab_size = 0;        // of config.json: ids that the model can give
  int64_t context_length = 0;    // of config.json
};

// Needs tokenizer.json and config.json; tokenizer_config.json, generation_config.json and
// chat_template.jinja (which wins over the template of tokenizer_config.json) where they are.
// NotFound or InvalidArgument naming the file and the field.
absl::StatusOr<FolderTexts> ReadFolderTexts(const std::string& folder);

// The most positions of a model, from a GGUF file or a folder.
absl::StatusOr<int64_t> ReadContextLength(const std::string& path);
absl::StatusOr<int64_t> ReadContextLength(const GgufFile& file);

// How a model is called where nobody says: a GGUF file's name without extension, a folder's name,
// or org/name of a folder in a Hugging Face cache (models--org--name/snapshots/...).
std::string DefaultModelId(const std::string& path);

}  // namespace baton::models::text
