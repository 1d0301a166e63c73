#include "router/openai_answer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "router/json_text.h"

namespace baton::router {
namespace {

void AppendHead(const AnswerShape& shape, const AnswerHead& head, std::string* out) {
  absl::string_view object = "text_completion";
  if (shape.chat) object = shape.stream ? "chat.completion.chunk" : "chat.completion";
  *out += "{\"id\":";
  AppendJsonString(absl::StrCat(shape.chat ? "chatcmpl-" : "cmpl-", head.id), out);
  absl::StrAppend(out, ",\"object\":\"", object, "\",\"created\":", head.created_s, ",\"model\":");
  AppendJsonString(head.model, out);
  *out += ",\"choices\":[";
}

void AppendUsage(const Usage& usage, std::string* out) {
  absl::StrAppend(out, "{\"prompt_tokens\":", usage.prompt_tokens,
                  ",\"completion_tokens\":", usage.completion_tokens,
                  ",\"total_tokens\":", usage.prompt_tokens + usage.completion_tokens,
                  ",\"prompt_tokens_details\":{\"cached_tokens\":", usage.cached_tokens, "}}");
}

// ,"timings":{...}: what is known.
void AppendTimings(const Timings& timings, std::string* out) {
  *out += ",\"timings\":{\"prefill_node\":";
  AppendJsonString(timings.prefill_node, out);
  *out += ",\"decode_node\":";
  AppendJsonString(timings.decode_node, out);
  *out += ",\"placement\":";
  AppendJsonString(timings.placement, out);
  const std::pair<absl::string_view, double> times[] = {
      {"estimated_first_token_ms", timings.estimated_first_token_ms},
      {"queue_ms", timings.queue_ms},
      {"prefill_ms", timings.prefill_ms},
      {"transfer_exposed_ms", timings.transfer_exposed_ms},
      {"decode_wait_ms", timings.decode_wait_ms},
      {"first_token_ms", timings.first_token_ms},
      {"decode_ms", timings.decode_ms}};
  for (const auto& [name, milliseconds] : times) {
    if (milliseconds >= 0) absl::StrAppend(out, ",\"", name, "\":", milliseconds);
  }
  *out += "}";
}

template <typename Ids>
void AppendTokenIds(const Ids& ids, std::string* out) {
  *out += ",\"token_ids\":[";
  bool first = true;
  for (const int32_t id : ids) {
    absl::StrAppend(out, first ? "" : ",", id);
    first = false;
  }
  *out += "]";
}

void AppendFinish(v1::FinishReason finish, const StopReason& reason, std::string* out) {
  *out += ",\"finish_reason\":";
  switch (finish) {
    case v1::FINISH_REASON_STOP:
      *out += "\"stop\"";
      break;
    case v1::FINISH_REASON_LENGTH:
      *out += "\"length\"";
      break;
    case v1::FINISH_REASON_ABORT:
      *out += "\"abort\"";
      break;
    default:
      *out += "null";
  }
  *out += ",\"stop_reason\":";
  if (const int32_t* id = std::get_if<int32_t>(&reason)) {
    absl::StrAppend(out, *id);
  } else if (const std::string* text = std::get_if<std::string>(&reason)) {
    AppendJsonString(*text, out);
  } else {
    *out += "null";
  }
}

}  // namespace

AnswerStream::AnswerStream(const models::text::Tokenizer& tokenizer, const AnswerShape& shape,
                           const AnswerHead& head)
    : tokenizer_(tokenizer), shape_(shape), head_("data: ") {
  AppendHead(shape, head, &head_);
}

void AnswerStream::AppendDelta(const Delta& delta, std::string* out) {
  const auto [offset, first] = text_offsets_.emplace(delta.choice, 0);
  absl::StrAppend(out, head_, "{\"index\":", delta.choice);
  if (shape_.chat) {
    *out += first ? ",\"delta\":{\"role\":\"assistant\",\"content\":" : ",\"delta\":{\"content\":";
    AppendJsonString(delta.text, out);
    *out += "}";
  } else {
    *out += ",\"text\":";
    AppendJsonString(delta.text, out);
  }
  *out += ",\"logprobs\":";
  if (shape_.logprobs && !delta.tokens.empty()) {
    LogprobsText logprobs(shape_.chat);
    for (const v1::Token& token : delta.tokens) logprobs.Add(tokenizer_, token, &offset->second);
    logprobs.AppendTo(out);
  } else {
    *out += "null";
  }
  AppendFinish(delta.finish, delta.stop_reason, out);
  if (shape_.token_ids) {
    std::vector<int32_t> ids;
    for (const v1::Token& token : delta.tokens) ids.push_back(token.id());
    AppendTokenIds(ids, out);
  }
  *out += "}]";
  if (shape_.continuous_usage) {
    *out += ",\"usage\":";
    AppendUsage(delta.usage, out);
  } else if (shape_.include_usage) {
    *out += ",\"usage\":null";
  }
  *out += "}\n\n";
}

void AnswerStream::AppendEnd(const Outcome& outcome, std::string* out) const {
  if (outcome.error) {
    absl::StrAppend(out, "data: ", ErrorJson(*outcome.error), "\n\n");
  } else if (shape_.include_usage || shape_.timings) {
    absl::StrAppend(out, head_, "],\"usage\":");
    AppendUsage(outcome.usage, out);
    if (shape_.timings) AppendTimings(outcome.timings, out);
    *out += "}\n\n";
  }
  *out += "data: [DONE]\n\n";
}

AnswerCollector::AnswerCollector(const models::text::Tokenizer& tokenizer, const AnswerShape& shape,
                                 const AnswerHead& head)
    : tokenizer_(tokenizer), shape_(shape), head_(head) {}

void AnswerCollector::Add(const Delta& delta) {
  Choice& choice =
      choices_.try_emplace(delta.choice, Choice{"", LogprobsText(shape_.chat)}).first->second;
  choice.text += delta.text;
  if (shape_.logprobs) {
    for (const v1::Token& token : delta.tokens) {
      choice.logprobs.Add(tokenizer_, token, &choice.text_offset);
    }
  }
  if (shape_.token_ids) {
    for (const v1::Token& token : delta.tokens) choice.token_ids.push_back(token.id());
  }
  if (delta.finish != v1::FINISH_REASON_UNSPECIFIED) {
    choice.finish = delta.finish;
    choice.stop_reason = delta.stop_reason;
  }
}

std::string AnswerCollector::Json(const Outcome& outcome) const {
  std::string out;
  AppendHead(shape_, head_, &out);
  for (const auto& [index, choice] : choices_) {
    if (out.back() != '[') out.push_back(',');
    absl::StrAppend(&out, "{\"index\":", index);
    if (shape_.chat) {
      out += ",\"message\":{\"role\":\"assistant\",\"content\":";
      AppendJsonString(choice.text, &out);
      out += ",\"refusal\":null}";
    } else {
      out += ",\"text\":";
      AppendJsonString(choice.text, &out);
    }
    out += ",\"logprobs\":";
    if (shape_.logprobs) {
      choice.logprobs.AppendTo(&out);
    } else {
      out += "null";
    }
    AppendFinish(choice.finish, choice.stop_reason, &out);
    if (shape_.token_ids) AppendTokenIds(choice.token_ids, &out);
    out += "}";
  }
  out += "],\"usage\":";
  AppendUsage(outcome.usage, &out);
  if (shape_.timings) AppendTimings(outcome.timings, &out);
  out += "}";
  return out;
}

}  // namespace baton::router
