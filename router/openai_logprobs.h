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
  // Completions: the tokens of an echoed prompt, with at most `top_count` alternatives. `scores`
  // are those of all but the first, which has none.
  void AddPrompt(const models::text::Tokenizer& tokenizer, const std::vector<int32_t>& prompt,
                 const std::vector<v1::PromptToken>& scores, int32_t top_count,
                 int64_t* text_offset);
  // chat: {"content":[...]}; completions:
  // {"text_offset":[],"token_logprobs":[],"tokens":[],"top_logprobs":[]}.
  void AppendTo(std::string* out) const;

 private:
  // Completions: `token`; without a log-probability where `scored` is false.
  void AddText(const models::text::Tokenizer& tokenizer, const v1::Token& token, bool scored,
               int64_t* text_offset);

  bool chat_;
  std::string content_;                             // chat
  std::string offsets_, logprobs_, tokens_, tops_;  // completions
};

// vLLM's prompt_logprobs: null for the first token, then for each an object from token ids to
// {"logprob","rank","decoded_token"}: its own, and at most `top_count` alternatives.
void AppendPromptLogprobs(const models::text::Tokenizer& tokenizer,
                          const std::vector<v1::PromptToken>& scores, int32_t top_count,
                          std::string* out);

// {"token","logprob","bytes","top_logprobs":[...]}: an entry of a chat's log-probabilities.
void AppendChatLogprob(const models::text::Tokenizer& tokenizer, const v1::Token& token,
                       std::string* out);

}  // namespace baton::router
