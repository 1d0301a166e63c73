// gpt-oss's channels: analysis is reasoning, final is for the user, commentary calls functions.
#include <utility>

#include "absl/strings/match.h"
#include "router/api/marked_text.h"
#include "router/api/turn_parsers.h"

namespace baton::router {
namespace {

constexpr absl::string_view kMarks[] = {"<|channel|>", "<|message|>", "<|end|>",      "<|start|>",
                                        "<|return|>",  "<|call|>",    "<|constrain|>"};
enum Mark { kChannel, kMessage, kEnd, kStart, kReturn, kCallEnd, kConstrain };
constexpr absl::string_view kRecipient = "to=functions.";

class HarmonyParser final : public TurnParser {
 public:
  explicit HarmonyParser(bool tools) : tools_(tools) {}

  void Push(absl::string_view text, TurnParts* parts) override {
    text_.Push(text);
    std::string before;
    for (int mark = 0; mark >= 0;) {
      mark = text_.Take(kMarks, &before);
      Take(before, parts);
      if (mark >= 0) Pass(mark, parts);
    }
  }

  void Finish(TurnParts* parts) override {
    const std::string rest = text_.TakeRest();
    if (!in_head_) Take(rest, parts);
  }

 private:
  void Take(absl::string_view text, TurnParts* parts) {
    if (in_head_) {
      head_.append(text.data(), text.size());
    } else if (kind_ == TurnPart::Kind::kContent) {
      AppendText(kind_, text, parts);
    } else {
      AppendText(kind_, body_.Push(text), parts);
    }
  }

  void Pass(int mark, TurnParts* parts) {
    switch (mark) {
      case kStart:
        head_.clear();
        in_head_ = true;
        break;
      case kChannel:
        // The head of a turn's first message begins with the channel itself.
        if (!in_head_) head_.clear();
        in_head_ = true;
        head_ += " ";
        break;
      case kConstrain:
        if (in_head_) head_ += " ";
        break;
      case kMessage:
        if (in_head_) BeginBody(parts);
        break;
      default:  // the end of a message
        in_head_ = false;
        kind_ = TurnPart::Kind::kContent;
        head_.clear();
    }
  }

  void BeginBody(TurnParts* parts) {
    in_head_ = false;
    body_ = TrimmedText();
    const size_t recipient = head_.find(kRecipient.data(), 0, kRecipient.size());
    if (recipient != std::string::npos && tools_) {
      const std::string rest = head_.substr(recipient + kRecipient.size());
      parts->push_back({TurnPart::Kind::kCall, rest.substr(0, rest.find_first_of(" \t\n<")), ""});
      kind_ = TurnPart::Kind::kArguments;
    } else if (absl::StrContains(head_, "analysis")) {
      kind_ = TurnPart::Kind::kReasoning;
    } else {
      kind_ = TurnPart::Kind::kContent;
    }
    head_.clear();
  }

  const bool tools_;
  MarkedText text_;
  bool in_head_ = false;
  std::string head_;
  TurnPart::Kind kind_ = TurnPart::Kind::kContent;
  TrimmedText body_;
};

}  // namespace

std::unique_ptr<TurnParser> MakeHarmonyParser(bool tools) {
  return std::make_unique<HarmonyParser>(tools);
}

}  // namespace baton::router
