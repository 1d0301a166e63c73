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

void AppendUsage(const Usage& usage, int64_t reasoning_tokens, std::string* out) {
  absl::StrAppend(out, "{\"prompt_tokens\":", usage.prompt_tokens,
                  ",\"completion_tokens\":", usage.completion_tokens,
                  ",\"total_tokens\":", usage.prompt_tokens + usage.completion_tokens,
                  ",\"prompt_tokens_details\":{\"cached_tokens\":", usage.cached_tokens, "}");
  if (reasoning_tokens > 0) {
    absl::StrAppend(out, ",\"completion_tokens_details\":{\"reasoning_tokens\":", reasoning_tokens,
                    "}");
  }
  *out += "}";
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
  absl::StrAppend(out, ",\"total_ms\":", absl::ToDoubleMilliseconds(timings.timeline.total()),
                  ",\"phases\":{");
  for (size_t i = 0; i < kPhases; ++i) {
    const auto phase = static_cast<Phase>(i);
    absl::StrAppend(out, i == 0 ? "\"" : ",\"", PhaseName(phase),
                    "_ms\":", absl::ToDoubleMilliseconds(timings.timeline.spent(phase)));
  }
  *out += "}}";
}

template <typename Ids>
void AppendTokenIds(absl::string_view name, const Ids& ids, std::string* out) {
  absl::StrAppend(out, ",\"", name, "\":[");
  bool first = true;
  for (const int32_t id : ids) {
    absl::StrAppend(out, first ? "" : ",", id);
    first = false;
  }
  *out += "]";
}

void AppendFinish(v1::FinishReason finish, const StopReason& reason, bool calls, std::string* out) {
  *out += ",\"finish_reason\":";
  switch (finish) {
    case v1::FINISH_REASON_STOP:
      *out += calls ? "\"tool_calls\"" : "\"stop\"";
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

// "key": "text", after a comma where something stands before it.
void AppendMember(absl::string_view key, absl::string_view text, std::string* out) {
  absl::StrAppend(out, out->back() == '{' ? "\"" : ",\"", key, "\":");
  AppendJsonString(text, out);
}

// Both names that clients look for.
void AppendReasoning(absl::string_view text, std::string* out) {
  AppendMember("reasoning_content", text, out);
  AppendMember("reasoning", text, out);
}

template <typename Choices>
int64_t ReasoningTokens(const Choices& choices) {
  int64_t tokens = 0;
  for (const auto& [index, choice] : choices) tokens += choice.turn.reasoning_tokens();
  return tokens;
}

// The members of a chat's delta. Neighbouring parts of one call share an entry.
void AppendTurn(const TurnParts& parts, int32_t calls_before, bool show_reasoning, bool first,
                std::string* out) {
  std::string content;
  std::string reasoning;
  std::string calls;
  int32_t call = calls_before - 1;
  bool open = false;  // the last entry of `calls` lacks its end
  for (const TurnPart& part : parts) {
    if (part.kind == TurnPart::Kind::kContent) content += part.text;
    if (part.kind == TurnPart::Kind::kReasoning) reasoning += part.text;
    if (part.kind == TurnPart::Kind::kCall) {
      absl::StrAppend(&calls, open ? "\"}}" : "", calls.empty() ? "" : ",", "{\"index\":", ++call,
                      ",\"id\":");
      AppendJsonString(part.id, &calls);
      calls += ",\"type\":\"function\",\"function\":{\"name\":";
      AppendJsonString(part.text, &calls);
      calls += ",\"arguments\":\"";
      open = true;
    }
    if (part.kind == TurnPart::Kind::kArguments) {
      if (!open) {
        absl::StrAppend(&calls, "{\"index\":", call, ",\"function\":{\"arguments\":\"");
        open = true;
      }
      std::string quoted;
      AppendJsonString(part.text, &quoted);
      calls.append(quoted, 1, quoted.size() - 2);
    }
  }
  if (open) calls += "\"}}";
  if (first) AppendMember("role", "assistant", out);
  reasoning = show_reasoning ? reasoning : "";
  if (!content.empty() || (reasoning.empty() && calls.empty())) {
    AppendMember("content", content, out);
  }
  if (!reasoning.empty()) AppendReasoning(reasoning, out);
  if (!calls.empty()) {
    absl::StrAppend(out, out->back() == '{' ? "" : ",", "\"tool_calls\":[", calls, "]");
  }
}

}  // namespace

AnswerStream::AnswerStream(const models::text::Tokenizer& tokenizer, const AnswerShape& shape,
                           const AnswerHead& head, const TurnReading& reading)
    : tokenizer_(tokenizer), shape_(shape), id_(head.id), reading_(reading), head_("data: ") {
  AppendHead(shape, head, &head_);
}

void AnswerStream::AppendDelta(const Delta& delta, bool first, Choice* choice, std::string* out) {
  if (!shape_.chat) {
    *out += ",\"text\":";
    AppendJsonString(delta.text, out);
    return;
  }
  const int32_t calls_before = choice->turn.calls();
  const TurnParts parts = choice->turn.Read(delta);
  *out += ",\"delta\":{";
  AppendTurn(parts, calls_before, shape_.reasoning, first, out);
  *out += "}";
}

void AnswerStream::Add(const Delta& delta, std::string* out) {
  const auto [entry, first] =
      choices_.try_emplace(delta.choice, Choice{TurnReader(reading_, id_, delta.choice)});
  Choice& choice = entry->second;
  absl::StrAppend(out, head_, "{\"index\":", delta.choice);
  AppendDelta(delta, first, &choice, out);
  *out += ",\"logprobs\":";
  const bool echoes = shape_.echo_logprobs && delta.prompt_scores != nullptr;
  if (shape_.logprobs && (echoes || !delta.tokens.empty())) {
    LogprobsText logprobs(shape_.chat);
    if (echoes) {
      logprobs.AddPrompt(tokenizer_, *delta.prompt, *delta.prompt_scores, shape_.top_logprobs,
                         &choice.text_offset);
    }
    for (const v1::Token& token : delta.tokens) {
      logprobs.Add(tokenizer_, token, &choice.text_offset);
    }
    logprobs.AppendTo(out);
  } else {
    *out += "null";
  }
  AppendFinish(delta.finish, delta.stop_reason, choice.turn.calls() > 0, out);
  const bool show_prompt = shape_.token_ids && first && delta.prompt;
  if (shape_.token_ids) {
    std::vector<int32_t> ids;
    for (const v1::Token& token : delta.tokens) ids.push_back(token.id());
    AppendTokenIds("token_ids", ids, out);
    if (show_prompt && !shape_.chat) AppendTokenIds("prompt_token_ids", *delta.prompt, out);
  }
  *out += "}]";
  if (show_prompt && shape_.chat) AppendTokenIds("prompt_token_ids", *delta.prompt, out);
  if (shape_.continuous_usage) {
    *out += ",\"usage\":";
    AppendUsage(delta.usage, ReasoningTokens(choices_), out);
  } else if (shape_.include_usage) {
    *out += ",\"usage\":null";
  }
  *out += "}\n\n";
}

void AnswerStream::End(const Outcome& outcome, std::string* out) {
  if (outcome.error) {
    absl::StrAppend(out, "data: ", ErrorJson(*outcome.error), "\n\n");
  } else if (shape_.include_usage || shape_.timings) {
    absl::StrAppend(out, head_, "],\"usage\":");
    AppendUsage(outcome.usage, ReasoningTokens(choices_), out);
    if (shape_.timings) AppendTimings(outcome.timings, out);
    *out += "}\n\n";
  }
  *out += "data: [DONE]\n\n";
}

AnswerCollector::AnswerCollector(const models::text::Tokenizer& tokenizer, const AnswerShape& shape,
                                 const AnswerHead& head, const TurnReading& reading)
    : tokenizer_(tokenizer), shape_(shape), head_(head), reading_(reading) {}

void AnswerCollector::Add(const Delta& delta, std::string*) {
  Choice& choice =
      choices_
          .try_emplace(delta.choice, Choice{TurnReader(reading_, head_.id, delta.choice),
                                            "",
                                            "",
                                            {},
                                            LogprobsText(shape_.chat)})
          .first->second;
  if (!shape_.chat) choice.text += delta.text;
  for (TurnPart& part : shape_.chat ? choice.turn.Read(delta) : TurnParts()) {
    if (part.kind == TurnPart::Kind::kContent) choice.text += part.text;
    if (part.kind == TurnPart::Kind::kReasoning) choice.reasoning += part.text;
    if (part.kind == TurnPart::Kind::kCall) choice.calls.push_back({part.id, part.text, ""});
    if (part.kind == TurnPart::Kind::kArguments) choice.calls.back().arguments += part.text;
  }
  if (delta.prompt_scores && shape_.prompt_logprobs >= 0) {
    choice.prompt_scores = delta.prompt_scores;
  }
  if (delta.prompt_scores && shape_.echo_logprobs) {
    choice.logprobs.AddPrompt(tokenizer_, *delta.prompt, *delta.prompt_scores, shape_.top_logprobs,
                              &choice.text_offset);
  }
  if (shape_.logprobs) {
    for (const v1::Token& token : delta.tokens) {
      choice.logprobs.Add(tokenizer_, token, &choice.text_offset);
    }
  }
  if (shape_.token_ids) {
    for (const v1::Token& token : delta.tokens) choice.token_ids.push_back(token.id());
    choice.prompt = delta.prompt;
  }
  if (delta.finish != v1::FINISH_REASON_UNSPECIFIED) {
    choice.finish = delta.finish;
    choice.stop_reason = delta.stop_reason;
  }
}

void AnswerCollector::AppendMessage(const Choice& choice, std::string* out) const {
  *out += ",\"message\":{\"role\":\"assistant\",\"content\":";
  if (choice.text.empty() && !choice.calls.empty()) {
    *out += "null";
  } else {
    AppendJsonString(choice.text, out);
  }
  *out += ",\"refusal\":null";
  if (shape_.reasoning && !choice.reasoning.empty()) AppendReasoning(choice.reasoning, out);
  for (const Call& call : choice.calls) {
    absl::StrAppend(out, &call == &choice.calls.front() ? ",\"tool_calls\":[" : ",", "{\"id\":");
    AppendJsonString(call.id, out);
    *out += ",\"type\":\"function\",\"function\":{";
    AppendMember("name", call.name, out);
    AppendMember("arguments", call.arguments, out);
    *out += "}}";
  }
  *out += choice.calls.empty() ? "}" : "]}";
}

void AnswerCollector::AppendScores(const Choice& choice, std::string* out) const {
  if (choice.prompt_scores == nullptr) return;
  *out += ",\"prompt_logprobs\":";
  AppendPromptLogprobs(tokenizer_, *choice.prompt_scores, shape_.prompt_logprobs, out);
}

void AnswerCollector::End(const Outcome& outcome, std::string* out) {
  AppendHead(shape_, head_, out);
  for (const auto& [index, choice] : choices_) {
    if (out->back() != '[') out->push_back(',');
    absl::StrAppend(out, "{\"index\":", index);
    if (shape_.chat) {
      AppendMessage(choice, out);
    } else {
      *out += ",\"text\":";
      AppendJsonString(choice.text, out);
    }
    *out += ",\"logprobs\":";
    if (shape_.logprobs) {
      choice.logprobs.AppendTo(out);
    } else {
      *out += "null";
    }
    AppendFinish(choice.finish, choice.stop_reason, !choice.calls.empty(), out);
    if (shape_.token_ids) AppendTokenIds("token_ids", choice.token_ids, out);
    if (choice.prompt && !shape_.chat) AppendTokenIds("prompt_token_ids", *choice.prompt, out);
    if (!shape_.chat) AppendScores(choice, out);
    *out += "}";
  }
  *out += "]";
  if (!choices_.empty() && shape_.chat) AppendScores(choices_.begin()->second, out);
  if (!choices_.empty() && shape_.chat && choices_.begin()->second.prompt) {
    AppendTokenIds("prompt_token_ids", *choices_.begin()->second.prompt, out);
  }
  *out += ",\"usage\":";
  AppendUsage(outcome.usage, ReasoningTokens(choices_), out);
  if (shape_.timings) AppendTimings(outcome.timings, out);
  *out += "}";
}

}  // namespace baton::router
