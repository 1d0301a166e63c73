#include "router/prompt_tokens.h"

#include "absl/strings/str_cat.h"

namespace baton::router {
namespace {

std::optional<ApiError> Refused(const Prompt& prompt, const absl::Status& status) {
  if (status.code() == absl::StatusCode::kInternal) {
    return ApiError{.message = "The tokenizer failed.", .code = "internal_error"};
  }
  return InvalidParam(PromptField(prompt), std::string(status.message()));
}

}  // namespace

absl::string_view PromptField(const Prompt& prompt) {
  return prompt.kind == Prompt::Kind::kChat ? "messages" : "prompt";
}

std::optional<ApiError> EncodePrompt(const models::text::Tokenizer& tokenizer, const Prompt& prompt,
                                     bool add_special_tokens, bool add_generation_prompt,
                                     std::vector<int32_t>* ids) {
  if (prompt.kind == Prompt::Kind::kTokens) {
    for (const int32_t id : prompt.ids) {
      if (id < 0 || id >= tokenizer.vocab_size()) {
        return InvalidParam("prompt",
                            absl::StrCat("Token id ", id, " is outside the vocabulary of ",
                                         tokenizer.vocab_size(), " tokens."));
      }
    }
    *ids = prompt.ids;
  } else {
    std::string text = prompt.text;
    if (prompt.kind == Prompt::Kind::kChat) {
      absl::StatusOr<std::string> rendered =
          tokenizer.RenderChat(prompt.text, add_generation_prompt);
      if (!rendered.ok()) return Refused(prompt, rendered.status());
      text = *std::move(rendered);
    }
    absl::StatusOr<std::vector<int32_t>> encoded =
        tokenizer.Encode(text, /*parse_special=*/true, add_special_tokens && tokenizer.add_bos());
    if (!encoded.ok()) return Refused(prompt, encoded.status());
    *ids = *std::move(encoded);
  }
  return std::nullopt;
}

}  // namespace baton::router
