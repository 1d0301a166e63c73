// A tool call that a model writes as one JSON object, read while it comes.
#pragma once

#include <string>

#include "router/api/turn_parser.h"

namespace baton::router {

// Where a JSON value ends, byte by byte.
class JsonNesting {
 public:
  // Whether `c` closes what the first byte opened: a bracket or a string.
  bool Closes(char c);

 private:
  bool in_string_ = false;
  bool escaped_ = false;
  int depth_ = 0;
};

// Reads {"name": ..., "arguments": {...}} byte by byte, in any order of its members; "parameters"
// is another word for the arguments, which may also be JSON in a string. Other members are skipped.
// Not thread-safe.
class CallJson {
 public:
  enum class State : uint8_t { kMore, kDone, kBroken };

  // `needs_arguments`: an object without arguments is no call.
  explicit CallJson(bool needs_arguments) : needs_arguments_(needs_arguments) {}

  // Takes `text` up to the end of the object, or up to the first byte that does not belong there,
  // and returns how much that was.
  size_t Push(absl::string_view text, TurnParts* parts);
  State state() const { return state_; }
  // Whether the call's beginning has been handed out.
  bool called() const { return called_; }
  // What was read while no call had been handed out.
  const std::string& raw() const { return raw_; }

 private:
  enum class Place : uint8_t { kOpen, kKeyOrEnd, kKey, kColon, kValue, kInValue, kAfterValue };

  // False: the byte does not belong to the object.
  bool Take(char c, TurnParts* parts);
  bool TakeInValue(char c, TurnParts* parts);
  bool BeginValue(char c, TurnParts* parts);
  void EndValue(TurnParts* parts);
  void End(TurnParts* parts);
  void Call(TurnParts* parts);
  bool InArguments() const { return key_ == "arguments" || key_ == "parameters"; }

  const bool needs_arguments_;
  State state_ = State::kMore;
  Place place_ = Place::kOpen;
  bool called_ = false;
  bool streams_ = false;  // the value goes out as it comes
  bool escaped_ = false;  // in a key
  bool scalar_ = false;   // the value is a number or a word
  JsonNesting nesting_;   // of the value otherwise
  std::string key_;
  std::string value_;  // as far as it does not stream
  std::string name_;
  std::string arguments_;  // that came before the name
  std::string raw_;
};

}  // namespace baton::router
