// Streaming detokenisation: text as it becomes certain, never half a UTF-8 character.
#pragma once

#include <cstdint>
#include <string>

#include "models/text/tokenizer.h"

namespace baton::models::text {

// One per output stream. Not thread-safe. The joined results of Push and Finish equal
// Tokenizer::Decode of all ids.
class IncrementalDecoder {
 public:
  // `tokenizer` must outlive the decoder.
  IncrementalDecoder(const Tokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  // Takes the next token and returns the text that is now certain; empty while a character is
  // incomplete.
  std::string Push(int32_t id);
  // Returns what is held back, incomplete bytes as U+FFFD.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::string pending_;  // bytes of an incomplete character
};

}  // namespace baton::models::text
