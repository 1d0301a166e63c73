// From a prompt in any of its forms to token ids.
#pragma once

#include <optional>
#include <vector>

#include "models/text/tokenizer.h"
#include "router/generation.h"

namespace baton::router {

// Renders a chat, tokenises text, checks ids against the vocabulary. 400 for a prompt that the
// template or the tokenizer refuses. There may be no ids in the end.
std::optional<ApiError> EncodePrompt(const models::text::Tokenizer& tokenizer, const Prompt& prompt,
                                     bool add_special_tokens, bool add_generation_prompt,
                                     std::vector<int32_t>* ids);

// The token sequences that spell `words`, at the beginning of a text and after a blank (as vLLM's
// bad_words has it).
std::optional<ApiError> EncodeBadWords(const models::text::Tokenizer& tokenizer,
                                       const std::vector<std::string>& words,
                                       v1::SamplingParams* sampling);

// The name of the field that a prompt came from.
absl::string_view PromptField(const Prompt& prompt);

}  // namespace baton::router
