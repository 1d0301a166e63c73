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

}  // namespace

void LogprobsText::Add(const models::text::Tokenizer& tokenizer, const v1::Token& token,
                       int64_t* text_offset) {
  v1::TokenLogprob drawn = token.logprob();
  drawn.set_id(token.id());
  if (chat_) {
    Separate(&content_);
    AppendChatEntry(tokenizer, drawn, &content_);
    content_ += ",\"top_logprobs\":[";
    for (const v1::TokenLogprob& entry : token.top()) {
      if (content_.back() != '[') content_.push_back(',');
      AppendChatEntry(tokenizer, entry, &content_);
      content_.push_back('}');
    }
    content_ += "]}";
    return;
  }
  const std::string text = ValidUtf8(tokenizer.TokenBytes(token.id()));
  for (std::string* list : {&offsets_, &logprobs_, &tokens_, &tops_}) Separate(list);
  absl::StrAppend(&offsets_, *text_offset);
  *text_offset += CodePoints(text);
  AppendNumber(drawn.logprob(), &logprobs_);
  AppendJsonString(text, &tokens_);
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
