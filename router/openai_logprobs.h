// Log-probabilities in the two forms of OpenAI's API.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/text/tokenizer.h"
#include "proto/types.pb.h"

namespace baton::router {

// Collects the entries of consecutive tokens of one answer and writes them as a JSON object.
class LogprobsText {
 public:
  explicit LogprobsText(bool chat) : chat_(chat) {}

  // `*text_offset` is the offset of the token in the answer in characters; it moves on by the
  // token's.
  void Add(const models::text::Tokenizer& tokenizer, const v1::Token& token, int64_t* text_offset);
  // chat: {"content":[...]}; completions:
  // {"text_offset":[],"token_logprobs":[],"tokens":[],"top_logprobs":[]}.
  void AppendTo(std::string* out) const;

 private:
  bool chat_;
  std::string content_;                             // chat
  std::string offsets_, logprobs_, tokens_, tops_;  // completions
};

}  // namespace baton::router
