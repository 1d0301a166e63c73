// Messages as objects, and as events in the order that Anthropic's clients expect.
#include <utility>

#include "absl/strings/str_cat.h"
#include "router/api/messages_api.h"

namespace baton::router {
namespace {

class MessagesWriter final : public AnswerWriter {
 public:
  MessagesWriter(const ApiRequest& request, const TurnReading& reading, const AnswerHead& head)
      : stream_(request.shape.stream), turn_(reading, head.id, 0) {
    message_ = {{"id", "msg_" + head.id},  {"type", "message"},        {"role", "assistant"},
                {"model", head.model},     {"content", Json::array()}, {"stop_reason", nullptr},
                {"stop_sequence", nullptr}};
  }

  void Add(const Delta& delta, std::string* out) override {
    if (!std::exchange(begun_, true)) {
      Json start = message_;
      start["usage"] = UsageOf({delta.usage.prompt_tokens, 0, 0});
      Event("message_start", {{"message", start}}, out);
    }
    for (const TurnPart& part : turn_.Read(delta)) AddPart(part, out);
    if (delta.finish == v1::FINISH_REASON_UNSPECIFIED) return;
    CloseBlock(out);
    message_["stop_reason"] = StopReasonOf(delta);
    if (const std::string* stop = std::get_if<std::string>(&delta.stop_reason)) {
      message_["stop_sequence"] = *stop;
    }
  }

  void End(const Outcome& outcome, std::string* out) override {
    if (outcome.error) {
      absl::StrAppend(out, "event: error\ndata: ", ErrorJson(*outcome.error, ErrorForm::kAnthropic),
                      "\n\n");
      return;
    }
    message_["usage"] = UsageOf(outcome.usage);
    if (!stream_) {
      *out += Text(message_);
      return;
    }
    Event(
        "message_delta",
        {{"delta",
          {{"stop_reason", message_["stop_reason"]}, {"stop_sequence", message_["stop_sequence"]}}},
         {"usage", message_["usage"]}},
        out);
    Event("message_stop", Json::object(), out);
  }

 private:
  static std::string Text(const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  // Anthropic counts what came from the cache apart.
  static Json UsageOf(const Usage& usage) {
    return {{"input_tokens", usage.prompt_tokens - usage.cached_tokens},
            {"cache_creation_input_tokens", 0},
            {"cache_read_input_tokens", usage.cached_tokens},
            {"output_tokens", usage.completion_tokens}};
  }

  std::string StopReasonOf(const Delta& delta) const {
    if (delta.finish == v1::FINISH_REASON_LENGTH) return "max_tokens";
    if (std::holds_alternative<std::string>(delta.stop_reason)) return "stop_sequence";
    return turn_.calls() > 0 ? "tool_use" : "end_turn";
  }

  void Event(const std::string& type, Json members, std::string* out) {
    if (!stream_) return;
    Json event = {{"type", type}};
    event.update(members);
    absl::StrAppend(out, "event: ", type, "\ndata: ", Text(event), "\n\n");
  }

  void AddPart(const TurnPart& part, std::string* out) {
    if (part.kind == TurnPart::Kind::kCall) {
      OpenBlock(
          part.kind,
          {{"type", "tool_use"}, {"id", part.id}, {"name", part.text}, {"input", Json::object()}},
          out);
      return;
    }
    if (part.kind == TurnPart::Kind::kContent && (!open_ || kind_ != part.kind)) {
      OpenBlock(part.kind, {{"type", "text"}, {"text", ""}}, out);
    }
    if (part.kind == TurnPart::Kind::kReasoning && (!open_ || kind_ != part.kind)) {
      OpenBlock(part.kind, {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}}, out);
    }
    text_ += part.text;
    Json delta = {{"type", "text_delta"}, {"text", part.text}};
    if (part.kind == TurnPart::Kind::kReasoning) {
      delta = {{"type", "thinking_delta"}, {"thinking", part.text}};
    } else if (part.kind == TurnPart::Kind::kArguments) {
      delta = {{"type", "input_json_delta"}, {"partial_json", part.text}};
    }
    Event("content_block_delta", At({{"delta", delta}}), out);
  }

  Json At(Json members) const {
    members["index"] = message_["content"].size();
    return members;
  }

  void OpenBlock(TurnPart::Kind kind, Json block, std::string* out) {
    CloseBlock(out);
    open_ = true;
    kind_ = kind;
    text_.clear();
    block_ = std::move(block);
    Event("content_block_start", At({{"content_block", block_}}), out);
  }

  void CloseBlock(std::string* out) {
    if (!std::exchange(open_, false)) return;
    if (kind_ == TurnPart::Kind::kCall) {
      Json input = Json::parse(text_, nullptr, /*allow_exceptions=*/false);
      // Arguments that are no object, or were cut off, are shown as they are.
      block_["input"] = input.is_object() ? std::move(input) : Json{{"raw_arguments", text_}};
    } else {
      block_[kind_ == TurnPart::Kind::kReasoning ? "thinking" : "text"] = text_;
    }
    Event("content_block_stop", At(Json::object()), out);
    message_["content"].push_back(std::move(block_));
  }

  const bool stream_;
  TurnReader turn_;
  Json message_;
  Json block_;        // the one that is open, without its text
  std::string text_;  // its text, or its input
  TurnPart::Kind kind_ = TurnPart::Kind::kContent;
  bool open_ = false;
  bool begun_ = false;
};

}  // namespace

std::unique_ptr<AnswerWriter> MakeMessagesWriter(const ApiRequest& request,
                                                 const TurnReading& reading,
                                                 const AnswerHead& head) {
  return std::make_unique<MessagesWriter>(request, reading, head);
}

}  // namespace baton::router
