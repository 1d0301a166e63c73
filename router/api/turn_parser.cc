#include "router/api/turn_parser.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "router/api/marked_text.h"
#include "router/api/turn_parsers.h"

namespace baton::router {
namespace {

class PlainParser final : public TurnParser {
 public:
  void Push(absl::string_view text, TurnParts* parts) override {
    AppendText(TurnPart::Kind::kContent, text, parts);
  }
  void Finish(TurnParts*) override {}
};

class ReasoningParser final : public TurnParser {
 public:
  ReasoningParser(absl::string_view open, absl::string_view close, bool in_reasoning,
                  std::unique_ptr<TurnParser> inner)
      : open_(open),
        close_(close),
        inner_(std::move(inner)),
        place_(in_reasoning ? Place::kReasoning : Place::kBefore) {}

  void Push(absl::string_view text, TurnParts* parts) override {
    if (place_ == Place::kBehind) return PushContent(text, parts);
    text_.Push(text);
    if (place_ == Place::kBefore) LookForTag(parts);
    if (place_ == Place::kReasoning) PushReasoning(parts);
  }

  void Finish(TurnParts* parts) override {
    if (place_ == Place::kBefore) inner_->Push(text_.TakeRest(), parts);
    if (place_ == Place::kReasoning) {
      // A tag that was begun is part of the reasoning: it was not closed.
      AppendText(TurnPart::Kind::kReasoning, thought_.Push(text_.TakeRest()), parts);
    }
    inner_->Finish(parts);
  }

 private:
  enum class Place : uint8_t { kBefore, kReasoning, kBehind };

  // Only at the beginning: later on the tag is something that the model talks about.
  void LookForTag(TurnParts* parts) {
    const absl::string_view text = absl::StripLeadingAsciiWhitespace(text_.held());
    if (absl::StartsWith(text, open_)) {
      text_.Drop(text_.held().size() - text.size() + open_.size());
      place_ = Place::kReasoning;
    } else if (!absl::StartsWith(open_, text)) {
      place_ = Place::kBehind;
      begun_ = true;  // no reasoning: the white space is the model's own
      PushContent(text_.TakeRest(), parts);
    }
  }

  void PushReasoning(TurnParts* parts) {
    std::string before;
    const absl::string_view marks[] = {close_};
    const int mark = text_.Take(marks, &before);
    AppendText(TurnPart::Kind::kReasoning, thought_.Push(before), parts);
    if (mark < 0) return;
    place_ = Place::kBehind;
    PushContent(text_.TakeRest(), parts);
  }

  void PushContent(absl::string_view text, TurnParts* parts) {
    if (!begun_) text = absl::StripLeadingAsciiWhitespace(text);
    if (text.empty()) return;
    begun_ = true;
    inner_->Push(text, parts);
  }

  const absl::string_view open_;
  const absl::string_view close_;
  const std::unique_ptr<TurnParser> inner_;
  Place place_;
  bool begun_ = false;
  MarkedText text_;
  TrimmedText thought_;
};

}  // namespace

void AppendText(TurnPart::Kind kind, absl::string_view text, TurnParts* parts) {
  if (text.empty()) return;
  if (parts->empty() || parts->back().kind != kind) parts->push_back({kind, "", ""});
  parts->back().text.append(text.data(), text.size());
}

std::unique_ptr<TurnParser> MakePlainParser() { return std::make_unique<PlainParser>(); }

std::unique_ptr<TurnParser> MakeReasoningParser(absl::string_view open, absl::string_view close,
                                                bool in_reasoning,
                                                std::unique_ptr<TurnParser> inner) {
  return std::make_unique<ReasoningParser>(open, close, in_reasoning, std::move(inner));
}

std::unique_ptr<TurnParser> MakeTurnParser(const TurnFormat& format, bool tools,
                                           bool in_reasoning) {
  if (format.reasoning == ReasoningStyle::kHarmony || format.tools == ToolStyle::kHarmony) {
    return MakeHarmonyParser(tools);
  }
  std::unique_ptr<TurnParser> parser = MakePlainParser();
  if (tools) {
    const bool sections = format.tools == ToolStyle::kDeepSeek || format.tools == ToolStyle::kKimi;
    parser = sections ? MakeSectionParser(format.tools) : MakeJsonCallParser(format.tools);
  }
  if (format.reasoning == ReasoningStyle::kNone) return parser;
  return MakeReasoningParser(format.open_tag(), format.close_tag(), in_reasoning,
                             std::move(parser));
}

}  // namespace baton::router
