// Responses as objects, and as events in the order that OpenAI's clients expect.
#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "router/api/responses_api.h"
#include "router/openai_logprobs.h"

namespace baton::router {
namespace {

// Log-probabilities of tokens whose text has not come yet, or never will: that of marks.
class WaitingLogprobs {
 public:
  void Add(const std::string& text, Json entry) {
    text_ += text;
    entries_.push_back({text_.size(), std::move(entry)});
  }

  // Those of the tokens that `text` is made of. What stands before it is forgotten.
  Json Take(const std::string& text) {
    const size_t found = text_.find(text);
    // Text that was mended (U+FFFD) stands for all that waits.
    const size_t begin = found == std::string::npos ? 0 : found;
    const size_t end = found == std::string::npos ? text_.size() : found + text.size();
    Json taken = Json::array();
    size_t token_begin = 0;
    while (!entries_.empty() && token_begin < end) {
      if (entries_.front().text_end > begin) taken.push_back(std::move(entries_.front().entry));
      token_begin = entries_.front().text_end;
      entries_.pop_front();
    }
    const size_t gone = std::max(end, token_begin);
    text_.erase(0, gone);
    for (Waiting& waiting : entries_) waiting.text_end -= gone;
    return taken;
  }

 private:
  struct Waiting {
    size_t text_end;  // in text_
    Json entry;
  };
  std::string text_;
  std::deque<Waiting> entries_;
};

class ResponsesWriter final : public AnswerWriter {
 public:
  ResponsesWriter(const models::text::Tokenizer& tokenizer, const ApiRequest& request,
                  const TurnReading& reading, const AnswerHead& head)
      : tokenizer_(tokenizer),
        logprobs_asked_(request.shape.logprobs),
        stream_(request.shape.stream),
        show_reasoning_(request.shape.reasoning),
        head_(head),
        turn_(reading, head.id, 0) {
    response_ = {{"id", "resp_" + head.id},       {"object", "response"},
                 {"created_at", head.created_s},  {"status", "in_progress"},
                 {"background", false},           {"error", nullptr},
                 {"incomplete_details", nullptr}, {"model", head.model},
                 {"output", Json::array()},       {"usage", nullptr}};
    response_.update(request.told);
  }

  void Add(const Delta& delta, std::string* out) override {
    Begin(out);
    if (logprobs_asked_) AddLogprobs(delta);
    for (const TurnPart& part : turn_.Read(delta)) AddPart(part, out);
    if (delta.finish != v1::FINISH_REASON_UNSPECIFIED) {
      cut_ = delta.finish == v1::FINISH_REASON_LENGTH;
      CloseItem(out);
    }
  }

  void End(const Outcome& outcome, std::string* out) override {
    std::string status = cut_ ? "incomplete" : "completed";
    if (outcome.error) {
      CloseItem(out);
      status = "failed";
      response_["error"] = {{"code", outcome.error->code}, {"message", outcome.error->message}};
    } else if (cut_) {
      response_["incomplete_details"] = {{"reason", "max_output_tokens"}};
    }
    response_["status"] = status;
    const Usage& usage = outcome.usage;
    response_["usage"] = {
        {"input_tokens", usage.prompt_tokens},
        {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
        {"output_tokens", usage.completion_tokens},
        {"output_tokens_details", {{"reasoning_tokens", turn_.reasoning_tokens()}}},
        {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
    if (stream_) {
      Event("response." + status, {{"response", response_}}, out);
    } else {
      *out += Text(response_);
    }
  }

 private:
  static std::string Text(const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  void Event(const std::string& type, Json members, std::string* out) {
    if (!stream_) return;
    Json event = {{"type", type}, {"sequence_number", sequence_++}};
    event.update(members);
    absl::StrAppend(out, "event: ", type, "\ndata: ", Text(event), "\n\n");
  }

  // With the first token, so that no event claims progress before there is any.
  void Begin(std::string* out) {
    if (std::exchange(begun_, true)) return;
    Event("response.created", {{"response", response_}}, out);
    Event("response.in_progress", {{"response", response_}}, out);
  }

  void AddLogprobs(const Delta& delta) {
    for (const v1::Token& token : delta.tokens) {
      std::string entry;
      AppendChatLogprob(tokenizer_, token, &entry);
      waiting_.Add(tokenizer_.TokenBytes(token.id()), Json::parse(entry));
    }
  }

  void AddPart(const TurnPart& part, std::string* out) {
    if (part.kind == TurnPart::Kind::kCall) {
      CloseItem(out);
      OpenItem(part.kind,
               {{"id", ItemId("fc_")},
                {"type", "function_call"},
                {"status", "in_progress"},
                {"call_id", part.id},
                {"name", part.text},
                {"arguments", ""}},
               out);
    } else if (part.kind == TurnPart::Kind::kArguments) {
      text_ += part.text;
      Event("response.function_call_arguments.delta", At({{"delta", part.text}}), out);
    } else if (part.kind == TurnPart::Kind::kContent || show_reasoning_) {
      AddText(part, out);
    }
  }

  void AddText(const TurnPart& part, std::string* out) {
    const bool content = part.kind == TurnPart::Kind::kContent;
    if (!open_ || kind_ != part.kind) {
      CloseItem(out);
      if (content) {
        OpenItem(part.kind,
                 {{"id", ItemId("msg_")},
                  {"type", "message"},
                  {"status", "in_progress"},
                  {"role", "assistant"},
                  {"content", Json::array()}},
                 out);
      } else {
        OpenItem(part.kind,
                 {{"id", ItemId("rs_")},
                  {"type", "reasoning"},
                  {"status", "in_progress"},
                  {"summary", Json::array()},
                  {"content", Json::array()},
                  {"encrypted_content", nullptr}},
                 out);
      }
      Event("response.content_part.added", InPart({{"part", Part("")}}), out);
    }
    text_ += part.text;
    Json delta = {{"delta", part.text}};
    const Json logprobs = waiting_.Take(part.text);  // tokens of reasoning are not told
    if (content) {
      delta["logprobs"] = logprobs;
      logprobs_.insert(logprobs_.end(), logprobs.begin(), logprobs.end());
    }
    Event(TextEvent() + ".delta", InPart(std::move(delta)), out);
  }

  std::string TextEvent() const {
    return kind_ == TurnPart::Kind::kContent ? "response.output_text" : "response.reasoning_text";
  }

  Json Part(const std::string& text) const {
    if (kind_ == TurnPart::Kind::kReasoning) return {{"type", "reasoning_text"}, {"text", text}};
    return {{"type", "output_text"},
            {"text", text},
            {"annotations", Json::array()},
            {"logprobs", text.empty() ? Json::array() : logprobs_}};
  }

  // Where in the output an event happens.
  Json At(Json members) const {
    members["item_id"] = item_["id"];
    members["output_index"] = response_["output"].size();
    return members;
  }
  Json InPart(Json members) const {
    members["content_index"] = 0;
    return At(std::move(members));
  }

  std::string ItemId(const char* prefix) const {
    return absl::StrCat(prefix, head_.id, response_["output"].size());
  }

  void OpenItem(TurnPart::Kind kind, Json item, std::string* out) {
    open_ = true;
    kind_ = kind;
    text_.clear();
    logprobs_ = Json::array();
    item_ = std::move(item);
    Event("response.output_item.added",
          {{"output_index", response_["output"].size()}, {"item", item_}}, out);
  }

  void CloseItem(std::string* out) {
    if (!std::exchange(open_, false)) return;
    if (kind_ == TurnPart::Kind::kCall) {
      item_["arguments"] = text_;
      Event("response.function_call_arguments.done",
            At({{"arguments", text_}, {"name", item_["name"]}}), out);
    } else {
      item_["content"].push_back(Part(text_));
      Json done = {{"text", text_}};
      if (kind_ == TurnPart::Kind::kContent) done["logprobs"] = logprobs_;
      Event(TextEvent() + ".done", InPart(std::move(done)), out);
      Event("response.content_part.done", InPart({{"part", Part(text_)}}), out);
    }
    item_["status"] = cut_ ? "incomplete" : "completed";
    Event("response.output_item.done",
          {{"output_index", response_["output"].size()}, {"item", item_}}, out);
    response_["output"].push_back(std::move(item_));
  }

  const models::text::Tokenizer& tokenizer_;
  const bool logprobs_asked_;
  const bool stream_;
  const bool show_reasoning_;
  const AnswerHead head_;
  TurnReader turn_;
  Json response_;
  Json item_;                      // the one that is open, without its text
  std::string text_;               // its text, or its arguments
  Json logprobs_ = Json::array();  // of its text
  WaitingLogprobs waiting_;
  TurnPart::Kind kind_ = TurnPart::Kind::kContent;
  bool open_ = false;
  bool begun_ = false;
  bool cut_ = false;
  int64_t sequence_ = 0;
};

}  // namespace

std::unique_ptr<AnswerWriter> MakeResponsesWriter(const models::text::Tokenizer& tokenizer,
                                                  const ApiRequest& request,
                                                  const TurnReading& reading,
                                                  const AnswerHead& head) {
  return std::make_unique<ResponsesWriter>(tokenizer, request, reading, head);
}

}  // namespace baton::router
