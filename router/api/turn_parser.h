// From the raw text of an assistant's turn to its parts: reasoning, words for the user, tool calls.
//
// Parsers are pure: the parts do not depend on how the text was cut into pieces, once neighbours of
// one kind are joined.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "router/api/turn_format.h"

namespace baton::router {

struct TurnPart {
  enum class Kind : uint8_t {
    kContent,    // text for the user
    kReasoning,  // what the model thought
    kCall,       // a tool call begins: text is the name of the function, id what the model calls it
    kArguments,  // a piece of the JSON of the latest call's arguments
  };
  Kind kind = Kind::kContent;
  std::string text;
  std::string id;  // kCall: empty where models of this kind write none
};

using TurnParts = std::vector<TurnPart>;

// Appends text to `parts`, to the last part where that is of the same kind. Nothing for no text.
void AppendText(TurnPart::Kind kind, absl::string_view text, TurnParts* parts);

// Reads one turn. Not thread-safe.
class TurnParser {
 public:
  virtual ~TurnParser() = default;
  // What has become certain with `text`; what may be the beginning of a mark is held back.
  virtual void Push(absl::string_view text, TurnParts* parts) = 0;
  // The turn has ended: what was held back. A call that was broken off keeps the arguments so far.
  virtual void Finish(TurnParts* parts) = 0;
};

// `tools`: calls are looked for. `in_reasoning`: the prompt has opened the reasoning already.
std::unique_ptr<TurnParser> MakeTurnParser(const TurnFormat& format, bool tools, bool in_reasoning);

}  // namespace baton::router
