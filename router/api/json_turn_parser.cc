// Calls as JSON objects: <tool_call>{...}</tool_call>, [TOOL_CALLS][{...}], or a whole turn {...}.
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "router/api/call_json.h"
#include "router/api/marked_text.h"
#include "router/api/turn_parsers.h"

namespace baton::router {
namespace {

constexpr absl::string_view kHermesMarks[] = {"<tool_call>", "</tool_call>"};
constexpr absl::string_view kLlamaMarks[] = {"<|python_tag|>"};
constexpr absl::string_view kMistralMarks[] = {"[TOOL_CALLS]"};
// Ends the name in Mistral's newer form.
constexpr absl::string_view kNameMarks[] = {"[ARGS]", "[CALL_ID]", "{"};
constexpr absl::string_view kIdMarks[] = {"[ARGS]"};

absl::Span<const absl::string_view> MarksOf(ToolStyle style) {
  if (style == ToolStyle::kMistral) return kMistralMarks;
  if (style == ToolStyle::kLlama3) return kLlamaMarks;
  return kHermesMarks;
}

class JsonCallParser final : public TurnParser {
 public:
  explicit JsonCallParser(ToolStyle style)
      : style_(style),
        marks_(MarksOf(style)),
        place_(style == ToolStyle::kLlama3 ? Place::kStart : Place::kContent) {}

  void Push(absl::string_view text, TurnParts* parts) override {
    text_.Push(text);
    while (Step(parts)) {
    }
  }

  void Finish(TurnParts* parts) override {
    std::string rest = text_.TakeRest();
    if (place_ == Place::kJson && !json_->called()) {
      rest = opening_ + json_->raw() + rest;
      place_ = Place::kContent;
    } else if (place_ == Place::kName) {
      rest = opening_ + name_ + rest;
      place_ = Place::kContent;
    } else if (place_ == Place::kList && !list_called_) {
      rest = opening_ + rest;
      place_ = Place::kContent;
    }
    if (place_ == Place::kContent || place_ == Place::kStart) {
      AppendText(TurnPart::Kind::kContent, content_.Push(rest), parts);
    }
    if (!called_) AppendText(TurnPart::Kind::kContent, content_.TakeSpace(), parts);
  }

 private:
  enum class Place : uint8_t {
    kStart,      // llama3: nothing but white space yet
    kContent,    //
    kList,       // behind a mark, between objects
    kJson,       // in an object
    kName,       // mistral: the name of a function
    kId,         // mistral: the id behind the name
    kArguments,  // mistral: an object of arguments
  };

  // Moves on by one part of what is held. False: more text is needed.
  bool Step(TurnParts* parts) {
    switch (place_) {
      case Place::kStart:
        return StepStart();
      case Place::kContent:
        return StepContent(parts);
      case Place::kList:
        return StepList(parts);
      case Place::kJson:
        return StepJson(parts);
      case Place::kName:
        return StepName(parts);
      case Place::kId:
        return StepId(parts);
      case Place::kArguments:
        return StepArguments(parts);
    }
    return false;
  }

  bool StepStart() {
    const absl::string_view text = absl::StripLeadingAsciiWhitespace(text_.held());
    if (text.empty()) return false;
    if (text[0] == '{') {
      opening_ = std::string(text_.held().substr(0, text_.held().size() - text.size()));
      text_.Drop(opening_.size());
      return BeginJson(/*needs_arguments=*/true);
    }
    place_ = Place::kContent;
    return true;
  }

  bool StepContent(TurnParts* parts) {
    std::string before;
    const int mark = text_.Take(marks_, &before);
    AppendText(TurnPart::Kind::kContent, content_.Push(before), parts);
    if (mark < 0) return false;
    if (mark == 0) BeginList();
    return true;
  }

  void BeginList() {
    place_ = Place::kList;
    list_called_ = false;
    opening_ = content_.TakeSpace() + std::string(marks_[0]);
  }

  // Between calls: brackets, commas and white space, then an object, a name, or the end.
  bool StepList(TurnParts* parts) {
    const absl::string_view text = text_.held();
    const size_t at = text.find_first_not_of(" \t\r\n,;]");
    if (at == absl::string_view::npos) {
      text_.Drop(text.size());
      return false;
    }
    if (text[at] == '{') {
      text_.Drop(at);
      return BeginJson(/*needs_arguments=*/false);
    }
    text_.Drop(at);
    if (style_ == ToolStyle::kHermes && list_called_) return SkipToMark();
    for (const absl::string_view mark : marks_) {
      const absl::string_view begin = text_.held().substr(0, mark.size());
      if (begin == mark) {
        text_.Drop(mark.size());
        if (mark == marks_[0]) {
          BeginList();
        } else {
          place_ = Place::kContent;
        }
        return true;
      }
      if (begin == mark.substr(0, begin.size())) return false;
    }
    if (text_.held()[0] == '[') {  // of a list, not of a mark
      text_.Drop(1);
      return true;
    }
    if (style_ == ToolStyle::kMistral && !list_called_) {
      name_.clear();
      place_ = Place::kName;
      return true;
    }
    // Something else: words behind calls, or a mark that began none.
    if (!list_called_) AppendText(TurnPart::Kind::kContent, content_.Push(opening_), parts);
    place_ = Place::kContent;
    return true;
  }

  // What stands between an object and the mark that closes it is a slip of the model.
  bool SkipToMark() {
    std::string slip;
    const int mark = text_.Take(marks_, &slip);
    if (mark == 0) BeginList();
    if (mark == 1) place_ = Place::kContent;
    return mark >= 0;
  }

  bool BeginJson(bool needs_arguments) {
    json_.emplace(needs_arguments);
    place_ = Place::kJson;
    return true;
  }

  bool StepJson(TurnParts* parts) {
    const size_t taken = json_->Push(text_.held(), parts);
    text_.Drop(taken);
    if (json_->called()) NoteCall();
    if (json_->state() == CallJson::State::kMore) return false;
    if (!json_->called()) {
      AppendText(TurnPart::Kind::kContent, content_.Push(opening_ + json_->raw()), parts);
      place_ = Place::kContent;
    } else {
      place_ = Place::kList;
    }
    opening_.clear();
    return true;
  }

  bool StepName(TurnParts* parts) {
    std::string before;
    const int mark = text_.Take(kNameMarks, &before);
    name_ += before;
    if (mark < 0) return false;
    name_ = std::string(WithoutSpace(name_));
    if (mark == 1) {
      id_.clear();
      place_ = Place::kId;
      return true;
    }
    BeginArguments("", parts);
    // The bracket was the mark.
    if (mark == 2) {
      nesting_.Closes('{');
      arguments_begun_ = true;
      AppendText(TurnPart::Kind::kArguments, "{", parts);
    }
    return true;
  }

  void BeginArguments(const std::string& id, TurnParts* parts) {
    parts->push_back({TurnPart::Kind::kCall, name_, id});
    NoteCall();
    nesting_ = JsonNesting();
    arguments_begun_ = false;
    place_ = Place::kArguments;
  }

  bool StepId(TurnParts* parts) {
    std::string before;
    const int mark = text_.Take(kIdMarks, &before);
    id_ += before;
    if (mark < 0) return false;
    BeginArguments(std::string(WithoutSpace(id_)), parts);
    return true;
  }

  bool StepArguments(TurnParts* parts) {
    absl::string_view text = text_.held();
    if (!arguments_begun_) {
      const absl::string_view body = absl::StripLeadingAsciiWhitespace(text);
      text_.Drop(text.size() - body.size());
      text = text_.held();
      if (text.empty()) return false;
      arguments_begun_ = true;
    }
    size_t taken = 0;
    bool ended = false;
    while (taken < text.size() && !ended) ended = nesting_.Closes(text[taken++]);
    AppendText(TurnPart::Kind::kArguments, text.substr(0, taken), parts);
    text_.Drop(taken);
    if (ended) place_ = Place::kList;
    return ended;
  }

  void NoteCall() {
    called_ = true;
    list_called_ = true;
    content_ = TrimmedText();
  }

  const ToolStyle style_;
  const absl::Span<const absl::string_view> marks_;
  Place place_;
  MarkedText text_;
  TrimmedText content_{/*keep_leading=*/true};
  std::optional<CallJson> json_;
  std::string opening_;  // what stood before the object, should it be no call
  bool called_ = false;
  bool list_called_ = false;  // a call has come since the mark

  std::string name_;
  std::string id_;
  JsonNesting nesting_;  // of the arguments
  bool arguments_begun_ = false;
};

}  // namespace

std::unique_ptr<TurnParser> MakeJsonCallParser(ToolStyle style) {
  return std::make_unique<JsonCallParser>(style);
}

}  // namespace baton::router
