#include "router/prompt_tokens.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "router/json_text.h"

namespace baton::router {
namespace {

std::optional<ApiError> Refused(const Prompt& prompt, const absl::Status& status) {
  if (status.code() == absl::StatusCode::kInternal) {
    return ApiError{.message = "The tokenizer failed.", .code = "internal_error"};
  }
  return InvalidParam(PromptField(prompt), std::string(status.message()));
}

// Stands behind the last message while it is rendered; what the template puts behind it is cut off.
constexpr absl::string_view kCutMark = "\x1d-the-answer-goes-on-here-\x1d";

absl::StatusOr<std::string> RenderContinued(const models::text::Tokenizer& tokenizer,
                                            const Prompt& prompt) {
  Json messages = Json::parse(prompt.text);
  Json& content = messages.back()["content"];
  if (!content.is_string()) {
    return absl::InvalidArgumentError("continue_final_message needs a last message with text");
  }
  content = absl::StrCat(content.get<std::string>(), kCutMark);
  absl::StatusOr<std::string> rendered =
      tokenizer.RenderChat(messages.dump(), /*add_generation_prompt=*/false, prompt.variables);
  if (!rendered.ok()) return rendered;
  const size_t cut = rendered->rfind(std::string(kCutMark));
  if (cut == std::string::npos) {
    return absl::InvalidArgumentError(
        "continue_final_message: the chat template does not show the last message");
  }
  return rendered->substr(0, cut);
}

}  // namespace

std::optional<ApiError> EncodeBadWords(const models::text::Tokenizer& tokenizer,
                                       const std::vector<std::string>& words,
                                       v1::SamplingParams* sampling) {
  for (const std::string& word : words) {
    const size_t begin = std::min(word.find_first_not_of(' '), word.size());
    std::vector<int32_t> first;
    for (const bool after_blank : {false, true}) {
      const std::string text = (after_blank ? " " : "") + word.substr(begin);
      absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(text, false, false);
      if (!ids.ok() || ids->empty()) {
        return InvalidParam("bad_words", "'bad_words' must hold words that are not blank.");
      }
      // Another sequence only where the blank is part of the word's first token.
      if (after_blank && ((*ids)[0] == first[0] || ids->size() != first.size())) continue;
      sampling->add_bad_sequences()->mutable_ids()->Add(ids->begin(), ids->end());
      first = *std::move(ids);
    }
  }
  return std::nullopt;
}

absl::string_view PromptField(const Prompt& prompt) {
  return prompt.kind == Prompt::Kind::kChat ? "messages" : prompt.field;
}

std::optional<ApiError> EncodePrompt(const models::text::Tokenizer& tokenizer, const Prompt& prompt,
                                     bool add_special_tokens, bool add_generation_prompt,
                                     std::vector<int32_t>* ids) {
  if (prompt.kind == Prompt::Kind::kTokens) {
    for (const int32_t id : prompt.ids) {
      if (id < 0 || id >= tokenizer.vocab_size()) {
        return InvalidParam(PromptField(prompt),
                            absl::StrCat("Token id ", id, " is outside the vocabulary of ",
                                         tokenizer.vocab_size(), " tokens."));
      }
    }
    *ids = prompt.ids;
  } else {
    std::string text = prompt.text;
    if (prompt.kind == Prompt::Kind::kChat) {
      absl::StatusOr<std::string> rendered =
          prompt.continue_final
              ? RenderContinued(tokenizer, prompt)
              : tokenizer.RenderChat(prompt.text, add_generation_prompt, prompt.variables);
      if (!rendered.ok()) return Refused(prompt, rendered.status());
      text = *std::move(rendered);
    }
    absl::StatusOr<std::vector<int32_t>> encoded =
        tokenizer.Encode(text, /*parse_special=*/true, add_special_tokens);
    if (!encoded.ok()) return Refused(prompt, encoded.status());
    *ids = *std::move(encoded);
  }
  return std::nullopt;
}

}  // namespace baton::router
