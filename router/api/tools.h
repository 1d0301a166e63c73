// Function tools of a request: what the client offers, and how the model is told and held to it.
#pragma once

#include <optional>
#include <string>

#include "models/text/tokenizer.h"
#include "proto/types.pb.h"
#include "router/api/turn_format.h"
#include "router/field_reader.h"
#include "router/generation.h"

namespace baton::router {

inline constexpr size_t kMaxTools = 128;

struct ToolOffer {
  enum class Choice : uint8_t { kNone, kAuto, kRequired };
  Choice choice = Choice::kNone;
  // A list of {"type":"function","function":{"name","description"?,"parameters"?,"strict"?}}; with
  // a named choice only that one may be called, but all are told.
  Json tools = Json::array();
  std::string named;     // the only one that may be called; empty: any
  bool parallel = true;  // more than one call in a turn

  bool offered() const { return choice != Choice::kNone; }
  // Whether calls are held to the schemas, and not only to JSON.
  bool enforced() const;
};

// Reads tools, tool_choice and parallel_tool_calls of a chat request. Records an error that names
// the field.
ToolOffer ReadTools(FieldReader& fields);

// Checks one function: its name, its schema. `where` is its field ("tools[0].function"), `schema`
// what the client calls the member `parameters`.
std::optional<ApiError> CheckFunction(const Json& function, const std::string& where,
                                      const std::string& schema = "parameters");

// Puts the tools into the generation's chat prompt: as the variable `tools` where the template
// shows them, otherwise in words in the system message. Calls in the history take the form that the
// model knows.
void TellTools(const TurnFormat& format, const ToolOffer& offer, Prompt* prompt);

}  // namespace baton::router
