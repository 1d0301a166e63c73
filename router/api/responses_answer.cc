// Responses as objects, and as events in the order that OpenAI's clients expect.
#include <utility>

#include "absl/strings/str_cat.h"
#include "router/api/responses_api.h"

namespace baton::router {
namespace {

class ResponsesWriter final : public AnswerWriter {
 public:
  ResponsesWriter(const ApiRequest& request, const TurnReading& reading, const AnswerHead& head)
      : stream_(request.shape.stream),
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
    if (content) delta["logprobs"] = Json::array();
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
            {"logprobs", Json::array()}};
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
      if (kind_ == TurnPart::Kind::kContent) done["logprobs"] = Json::array();
      Event(TextEvent() + ".done", InPart(std::move(done)), out);
      Event("response.content_part.done", InPart({{"part", Part(text_)}}), out);
    }
    item_["status"] = cut_ ? "incomplete" : "completed";
    Event("response.output_item.done",
          {{"output_index", response_["output"].size()}, {"item", item_}}, out);
    response_["output"].push_back(std::move(item_));
  }

  const bool stream_;
  const bool show_reasoning_;
  const AnswerHead head_;
  TurnReader turn_;
  Json response_;
  Json item_;         // the one that is open, without its text
  std::string text_;  // its text, or its arguments
  TurnPart::Kind kind_ = TurnPart::Kind::kContent;
  bool open_ = false;
  bool begun_ = false;
  bool cut_ = false;
  int64_t sequence_ = 0;
};

}  // namespace

std::unique_ptr<AnswerWriter> MakeResponsesWriter(const ApiRequest& request,
                                                  const TurnReading& reading,
                                                  const AnswerHead& head) {
  return std::make_unique<ResponsesWriter>(request, reading, head);
}

}  // namespace baton::router
