// Calls in sections of marks: DeepSeek V3 and V3.1, Kimi K2.
#include <utility>

#include "absl/strings/match.h"
#include "router/api/marked_text.h"
#include "router/api/turn_parsers.h"

namespace baton::router {
namespace {

// content [section begin] {call begin HEAD separator ARGUMENTS call end} [section end]
struct Marks {
  absl::string_view section_begin;
  absl::string_view section_end;
  absl::string_view call_begin;
  absl::string_view separator;
  absl::string_view call_end;
};

constexpr Marks kDeepSeek = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",
                             "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"};
constexpr Marks kKimi = {"<|tool_calls_section_begin|>", "<|tool_calls_section_end|>",
                         "<|tool_call_begin|>", "<|tool_call_argument_begin|>",
                         "<|tool_call_end|>"};
// DeepSeek V3 says "function" in front of the separator, and the name and a fenced block behind it.
constexpr absl::string_view kFence = "```json";
constexpr absl::string_view kFenceEnd = "```<｜tool▁call▁end｜>";

class SectionParser final : public TurnParser {
 public:
  explicit SectionParser(ToolStyle style) : marks_(style == ToolStyle::kKimi ? kKimi : kDeepSeek) {}

  void Push(absl::string_view text, TurnParts* parts) override {
    text_.Push(text);
    while (Step(parts)) {
    }
  }

  void Finish(TurnParts* parts) override {
    const std::string rest = text_.TakeRest();
    if (place_ == Place::kContent) {
      AppendText(TurnPart::Kind::kContent, content_.Push(rest), parts);
      if (!called_) AppendText(TurnPart::Kind::kContent, content_.TakeSpace(), parts);
    } else if (place_ == Place::kArguments) {
      AppendText(TurnPart::Kind::kArguments, arguments_.Push(rest), parts);
    }
  }

 private:
  enum class Place : uint8_t { kContent, kBetween, kHead, kName, kArguments };

  bool Step(TurnParts* parts) {
    std::string before;
    switch (place_) {
      case Place::kContent:
        return StepContent(parts);
      case Place::kBetween: {
        const absl::string_view marks[] = {marks_.call_begin, marks_.section_end};
        const int mark = text_.Take(marks, &before);
        if (mark == 0) BeginHead();
        if (mark == 1) place_ = Place::kContent;
        return mark >= 0;
      }
      case Place::kHead:
        return StepHead(parts);
      case Place::kName: {
        const absl::string_view marks[] = {kFence};
        const int mark = text_.Take(marks, &before);
        head_ += before;
        if (mark == 0) Call(parts);
        return mark >= 0;
      }
      case Place::kArguments:
        return StepArguments(parts);
    }
    return false;
  }

  bool StepContent(TurnParts* parts) {
    std::string before;
    const absl::string_view marks[] = {marks_.section_begin, marks_.call_begin};
    const int mark = text_.Take(marks, &before);
    AppendText(TurnPart::Kind::kContent, content_.Push(before), parts);
    if (mark == 0) place_ = Place::kBetween;
    if (mark == 1) BeginHead();
    return mark >= 0;
  }

  bool StepHead(TurnParts* parts) {
    std::string before;
    const absl::string_view marks[] = {marks_.separator};
    const int mark = text_.Take(marks, &before);
    head_ += before;
    if (mark < 0) return false;
    if (WithoutSpace(head_) == "function") {
      head_.clear();
      fenced_ = true;
      place_ = Place::kName;
    } else {
      Call(parts);
    }
    return true;
  }

  bool StepArguments(TurnParts* parts) {
    std::string before;
    const absl::string_view marks[] = {marks_.call_end, kFenceEnd};
    const int mark = text_.Take(absl::MakeSpan(marks, fenced_ ? 2 : 1), &before);
    AppendText(TurnPart::Kind::kArguments, arguments_.Push(before), parts);
    if (mark >= 0) place_ = Place::kBetween;
    return mark >= 0;
  }

  void BeginHead() {
    head_.clear();
    fenced_ = false;
    place_ = Place::kHead;
  }

  // head_ is a name, or, for Kimi, an id like functions.NAME:0.
  void Call(TurnParts* parts) {
    TurnPart part{TurnPart::Kind::kCall, std::string(WithoutSpace(head_)), ""};
    if (absl::StartsWith(part.text, "functions.")) {
      part.id = part.text;
      part.text = part.text.substr(10, part.text.rfind(':') - 10);
    }
    parts->push_back(std::move(part));
    called_ = true;
    content_ = TrimmedText();
    arguments_ = TrimmedText();
    place_ = Place::kArguments;
  }

  const Marks& marks_;
  Place place_ = Place::kContent;
  MarkedText text_;
  TrimmedText content_{/*keep_leading=*/true};
  TrimmedText arguments_;
  std::string head_;
  bool fenced_ = false;
  bool called_ = false;
};

}  // namespace

std::unique_ptr<TurnParser> MakeSectionParser(ToolStyle style) {
  return std::make_unique<SectionParser>(style);
}

}  // namespace baton::router
