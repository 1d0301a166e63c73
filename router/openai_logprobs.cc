#include "router/openai_logprobs.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "router/json_text.h"

namespace baton::router {
namespace {

// JSON has no infinity; vLLM writes this number for a token that cannot be.
constexpr float kLowestLogprob = -9999.0f;

void AppendNumber(float logprob, std::string* out) {
  const float number = std::isnan(logprob) ? kLowestLogprob : std::max(logprob, kLowestLogprob);
  absl::StrAppendFormat(out, "%.9g", number);
}

void Separate(std::string* list) {
  if (!list->empty()) list->push_back(',');
}

// {"token":...,"logprob":...,"bytes":[...]} without the closing brace.
void AppendChatEntry(const models::text::Tokenizer& tokenizer, const v1::TokenLogprob& entry,
                     std::string* out) {
  const std::string bytes = tokenizer.TokenBytes(entry.id());
  *out += "{\"token\":";
  AppendJsonString(bytes, out);
  *out += ",\"logprob\":";
  AppendNumber(entry.logprob(), out);
  *out += ",\"bytes\":[";
  for (size_t i = 0; i < bytes.size(); ++i) {
    absl::StrAppend(out, i > 0 ? "," : "", static_cast<int>(static_cast<unsigned char>(bytes[i])));
  }
  *out += "]";
}

void AppendTopEntry(const models::text::Tokenizer& tokenizer, const v1::TokenLogprob& entry,
                    std::string* out) {
  if (out->back() != '{') out->push_back(',');
  AppendJsonString(tokenizer.TokenBytes(entry.id()), out);
  out->push_back(':');
  AppendNumber(entry.logprob(), out);
}

void AppendRanked(const models::text::Tokenizer& tokenizer, const v1::TokenLogprob& entry,
                  int32_t rank, std::string* out) {
  if (out->back() != '{') out->push_back(',');
  absl::StrAppend(out, "\"", entry.id(), "\":{\"logprob\":");
  AppendNumber(entry.logprob(), out);
  absl::StrAppend(out, ",\"rank\":", rank, ",\"decoded_token\":");
  AppendJsonString(tokenizer.TokenBytes(entry.id()), out);
  out->push_back('}');
}

}  // namespace

void AppendPromptLogprobs(const models::text::Tokenizer& tokenizer,
                          const std::vector<v1::PromptToken>& scores, int32_t top_count,
                          std::string* out) {
  *out += "[null";
  for (const v1::PromptToken& token : scores) {
    *out += ",{";
    AppendRanked(tokenizer, token.logprob(), token.rank(), out);
    for (int32_t i = 0; i < std::min(top_count, token.top_size()); ++i) {
      if (token.top(i).id() == token.logprob().id()) continue;
      AppendRanked(tokenizer, token.top(i), i + 1, out);
    }
    out->push_back('}');
  }
  out->push_back(']');
}

void AppendChatLogprob(const models::text::Tokenizer& tokenizer, const v1::Token& token,
                       std::string* out) {
  v1::TokenLogprob drawn = token.logprob();
  drawn.set_id(token.id());
  AppendChatEntry(tokenizer, drawn, out);
  *out += ",\"top_logprobs\":[";
  for (const v1::TokenLogprob& entry : token.top()) {
    if (out->back() != '[') out->push_back(',');
    AppendChatEntry(tokenizer, entry, out);
    out->push_back('}');
  }
  *out += "]}";
}

void LogprobsText::Add(const models::text::Tokenizer& tokenizer, const v1::Token& token,
                       int64_t* text_offset) {
  if (!chat_) return AddText(tokenizer, token, /*scored=*/true, text_offset);
  Separate(&content_);
  AppendChatLogprob(tokenizer, token, &content_);
}

void LogprobsText::AddPrompt(const models::text::Tokenizer& tokenizer,
                             const std::vector<int32_t>& prompt,
                             const std::vector<v1::PromptToken>& scores, int32_t top_count,
                             int64_t* text_offset) {
  for (size_t i = 0; i < prompt.size(); ++i) {
    v1::Token token;
    token.set_id(prompt[i]);
    const bool scored = i > 0 && i <= scores.size();
    if (scored) {
      const v1::PromptToken& score = scores[i - 1];
      *token.mutable_logprob() = score.logprob();
      const int32_t count = std::min(top_count, score.top_size());
      token.mutable_top()->Add(score.top().begin(), score.top().begin() + count);
    }
    AddText(tokenizer, token, scored, text_offset);
  }
}

void LogprobsText::AddText(const models::text::Tokenizer& tokenizer, const v1::Token& token,
                           bool scored, int64_t* text_offset) {
  const std::string text = ValidUtf8(tokenizer.TokenBytes(token.id()));
  for (std::string* list : {&offsets_, &logprobs_, &tokens_, &tops_}) Separate(list);
  absl::StrAppend(&offsets_, *text_offset);
  *text_offset += CodePoints(text);
  AppendJsonString(text, &tokens_);
  if (!scored) {
    logprobs_ += "null";
    tops_ += "null";
    return;
  }
  v1::TokenLogprob drawn = token.logprob();
  drawn.set_id(token.id());
  AppendNumber(drawn.logprob(), &logprobs_);
  tops_.push_back('{');
  const bool listed = std::any_of(token.top().begin(), token.top().end(),
                                  [&](const auto& entry) { return entry.id() == token.id(); });
  for (const v1::TokenLogprob& entry : token.top()) AppendTopEntry(tokenizer, entry, &tops_);
  if (!listed) AppendTopEntry(tokenizer, drawn, &tops_);
  tops_.push_back('}');
}

void LogprobsText::AppendTo(std::string* out) const {
  if (chat_) {
    absl::StrAppend(out, "{\"content\":[", content_, "]}");
    return;
  }
  absl::StrAppend(out, "{\"text_offset\":[", offsets_, "],\"token_logprobs\":[", logprobs_,
                  "],\"tokens\":[", tokens_, "],\"top_logprobs\":[", tops_, "]}");
}

}  // namespace baton::router
