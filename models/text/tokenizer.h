// Text to token ids and back, chat templates. A thin face over the Rust library (text_abi.h). Knows
// no tensors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

struct BatonTokenizer;

namespace baton::models::text {

// Immutable after loading; thread-safe.
class Tokenizer {
 public:
  // From a GGUF file or a Hugging Face folder.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& path);
  // From the tokenizer.ggml.* metadata of a GGUF file. FailedPrecondition names a missing or
  // unsupported key.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const std::string& path);
  // From tokenizer.json and the files beside it (folder_texts.h). FailedPrecondition names what of
  // tokenizer.json cannot be read.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromFolder(const std::string& folder);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // `parse_special`: control tokens written in the text ("<|im_end|>") become their ids; otherwise
  // they are plain text. `add_bos`: put BOS in front where the model wants it (add_bos()). Any
  // bytes are accepted; invalid UTF-8 is replaced by U+FFFD first.
  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text, bool parse_special,
                                              bool add_bos) const;
  // Bytes of the ids joined; maximal incomplete UTF-8 sequences become U+FFFD. InvalidArgument for
  // an id outside the vocabulary. `skip_special` leaves control tokens out.
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids, bool skip_special) const;
  // The raw bytes of one token (may be part of a UTF-8 character); empty for an id outside the
  // vocabulary.
  std::string TokenBytes(int32_t id) const;
  bool IsSpecial(int32_t id) const;

  int32_t vocab_size() const;
  bool add_bos() const;
  int32_t bos_id() const;                       // -1 where there is none
  const std::vector<int32_t>& eos_ids() const;  // EOS, EOT, EOM: each ends a generation
  // The chat template of the file; empty where there is none.
  const std::string& chat_template() const;

  // Renders a conversation (a JSON array of {role, content, ...}, key order kept) as transformers'
  // apply_chat_template does. InvalidArgument with the template's own message where it raises,
  // FailedPrecondition where the model has no template.
  // `variables_json`: a JSON object of further variables that the template sees ("tools",
  // "enable_thinking"); they may hide its own.
  absl::StatusOr<std::string> RenderChat(absl::string_view messages_json,
                                         bool add_generation_prompt,
                                         absl::string_view variables_json = "{}") const;

  // The object behind the C ABI, for grammar.cc; lives as long as this.
  const BatonTokenizer* abi() const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace baton::models::text
