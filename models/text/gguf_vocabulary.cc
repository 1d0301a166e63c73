#include "models/text/gguf_vocabulary.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::models::text {
namespace {

absl::Status Missing(const GgufFile& file, absl::string_view key) {
  return absl::FailedPreconditionError(
      absl::StrCat(file.path(), ": ", key, " is missing; the tokenizer needs it"));
}

// Id of a special token; -1 where the file names none.
absl::StatusOr<int32_t> TokenId(const GgufFile& file, absl::string_view key, size_t vocab_size) {
  if (!file.Has(key)) return -1;
  BATON_ASSIGN_OR_RETURN(const int64_t id, file.GetInt(key));
  // Writers store "none" as -1 or as the largest unsigned number.
  if (id == -1 || id == 0xFFFFFFFF) return -1;
  if (id < 0 || static_cast<uint64_t>(id) >= vocab_size) {
    return absl::FailedPreconditionError(absl::StrCat(
        file.path(), ": ", key, " is ", id, "; the vocabulary has ", vocab_size, " tokens"));
  }
  return static_cast<int32_t>(id);
}

absl::Status ReadTokens(const GgufFile& file, GgufVocabulary& vocabulary) {
  for (absl::string_view key :
       {"tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"}) {
    if (!file.Has(key)) return Missing(file, key);
  }
  BATON_ASSIGN_OR_RETURN(vocabulary.model, file.GetString("tokenizer.ggml.model"));
  BATON_ASSIGN_OR_RETURN(vocabulary.tokens, file.GetStrings("tokenizer.ggml.tokens"));
  BATON_ASSIGN_OR_RETURN(const std::vector<int64_t> types,
                         file.GetInts("tokenizer.ggml.token_type"));
  for (int64_t type : types) {
    // Out of range becomes 0, which the library refuses by name and index.
    vocabulary.token_types.push_back(type >= 1 && type <= 6 ? static_cast<int32_t>(type) : 0);
  }
  if (vocabulary.model == "gpt2" || vocabulary.model == "gemma4") {
    if (!file.Has("tokenizer.ggml.merges")) return Missing(file, "tokenizer.ggml.merges");
    BATON_ASSIGN_OR_RETURN(vocabulary.merges, file.GetStrings("tokenizer.ggml.merges"));
  }
  if (vocabulary.model == "gpt2") {
    if (!file.Has("tokenizer.ggml.pre")) return Missing(file, "tokenizer.ggml.pre");
    BATON_ASSIGN_OR_RETURN(vocabulary.pre, file.GetString("tokenizer.ggml.pre"));
  }
  if (vocabulary.model == "llama" || vocabulary.model == "t5") {
    if (!file.Has("tokenizer.ggml.scores")) return Missing(file, "tokenizer.ggml.scores");
    BATON_ASSIGN_OR_RETURN(const std::vector<double> scores,
                           file.GetFloats("tokenizer.ggml.scores"));
    vocabulary.scores.assign(scores.begin(), scores.end());
  }
  if (file.Has("tokenizer.ggml.precompiled_charsmap")) {
    BATON_ASSIGN_OR_RETURN(const std::vector<int64_t> bytes,
                           file.GetInts("tokenizer.ggml.precompiled_charsmap"));
    vocabulary.charsmap.assign(bytes.begin(), bytes.end());
  }
  return absl::OkStatus();
}

// Adds an id unless it is there.
void AddId(int32_t id, std::vector<int32_t>& ids) {
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
}

// Control tokens that end a turn in the models that have them. (gpt_oss ends parts of a turn with
// <|end|>, and the turn with <|return|>.)
bool EndsTurn(absl::string_view token, bool has_return) {
  if (token == "<|end|>") return !has_return;
  for (absl::string_view known : {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<end_of_turn>",
                                  "<turn|>", "<end_of_utterance>", "<EOT>", "_<EOT>", "[EOT]"}) {
    if (token == known) return true;
  }
  return false;
}

absl::Status ReadSpecialIds(const GgufFile& file, GgufVocabulary& vocabulary) {
  const size_t size = vocabulary.tokens.size();
  for (const auto& [key, name] : {std::pair{"tokenizer.ggml.bos_token_id", "bos_token"},
                                  std::pair{"tokenizer.ggml.eos_token_id", "eos_token"},
                                  std::pair{"tokenizer.ggml.unknown_token_id", "unk_token"},
                                  std::pair{"tokenizer.ggml.padding_token_id", "pad_token"}}) {
    BATON_ASSIGN_OR_RETURN(const int32_t id, TokenId(file, key, size));
    if (id >= 0) vocabulary.named_ids[name] = id;
  }
  if (auto bos = vocabulary.named_ids.find("bos_token"); bos != vocabulary.named_ids.end()) {
    vocabulary.bos_id = bos->second;
  }
  for (absl::string_view key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                "tokenizer.ggml.eom_token_id"}) {
    BATON_ASSIGN_OR_RETURN(const int32_t id, TokenId(file, key, size));
    if (id >= 0) AddId(id, vocabulary.eos_ids);
  }
  if (!file.Has("tokenizer.ggml.eot_token_id")) {
    const std::vector<absl::string_view>& tokens = vocabulary.tokens;
    const bool has_return = std::find(tokens.begin(), tokens.end(), "<|return|>") != tokens.end();
    for (size_t id = 0; id < std::min(size, vocabulary.token_types.size()); ++id) {
      if (IsSpecialTokenType(vocabulary.token_types[id]) && EndsTurn(tokens[id], has_return)) {
        AddId(static_cast<int32_t>(id), vocabulary.eos_ids);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufVocabulary> ReadVocabulary(const GgufFile& file) {
  GgufVocabulary vocabulary;
  vocabulary.path = file.path();
  BATON_RETURN_IF_ERROR(ReadTokens(file, vocabulary));
  BATON_RETURN_IF_ERROR(ReadSpecialIds(file, vocabulary));
  if (file.Has("tokenizer.ggml.add_space_prefix")) {
    BATON_ASSIGN_OR_RETURN(vocabulary.add_space_prefix,
                           file.GetBool("tokenizer.ggml.add_space_prefix"));
  }
  if (file.Has("tokenizer.ggml.remove_extra_whitespaces")) {
    BATON_ASSIGN_OR_RETURN(vocabulary.remove_extra_whitespaces,
                           file.GetBool("tokenizer.ggml.remove_extra_whitespaces"));
  }
  if (file.Has("tokenizer.ggml.add_bos_token")) {
    BATON_ASSIGN_OR_RETURN(vocabulary.add_bos, file.GetBool("tokenizer.ggml.add_bos_token"));
  }
  if (file.Has("tokenizer.ggml.add_eos_token")) {
    BATON_ASSIGN_OR_RETURN(vocabulary.add_eos, file.GetBool("tokenizer.ggml.add_eos_token"));
  }
  if (file.Has("tokenizer.chat_template")) {
    BATON_ASSIGN_OR_RETURN(vocabulary.chat_template, file.GetString("tokenizer.chat_template"));
  }
  return vocabulary;
}

bool IsSpecialTokenType(int32_t type) { return type == 2 || type == 3; }

}  // namespace baton::models::text
