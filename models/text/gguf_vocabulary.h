// The tokenizer.ggml.* metadata of a GGUF file, with types and ids checked.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "models/gguf/gguf_file.h"

namespace baton::models::text {

// Views point into the file.
struct GgufVocabulary {
  std::string path;  // for messages
  std::string model;
  std::string pre;
  std::vector<absl::string_view> tokens;  // index is the id
  std::vector<int32_t> token_types;
  std::vector<float> scores;
  std::vector<absl::string_view> merges;
  std::vector<uint8_t> charsmap;
  bool add_space_prefix = true;
  bool remove_extra_whitespaces = false;
  std::optional<bool> add_bos, add_eos;
  int32_t bos_id = -1;  // -1 where there is none
  // EOS, EOT, EOM, without repetition, EOS first where there is one. Where the file names no EOT,
  // control tokens that are known to end a turn by their text ("<end_of_turn>") count too.
  std::vector<int32_t> eos_ids;
  std::map<std::string, int32_t> named_ids;  // bos_token, eos_token, unk_token, pad_token
  std::string chat_template;                 // empty where there is none
};

// FailedPrecondition: a key is missing or has a value outside the vocabulary. InvalidArgument: a
// key has another type.
absl::StatusOr<GgufVocabulary> ReadVocabulary(const GgufFile& file);

// Control and unknown tokens are left out of text that is shown.
bool IsSpecialTokenType(int32_t type);

}  // namespace baton::models::text
