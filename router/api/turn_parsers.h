// One maker per way of writing calls; MakeTurnParser chooses.
#pragma once

#include <memory>

#include "router/api/turn_parser.h"

namespace baton::router {

// Everything is content.
std::unique_ptr<TurnParser> MakePlainParser();
// Calls as JSON objects: hermes, llama3, mistral.
std::unique_ptr<TurnParser> MakeJsonCallParser(ToolStyle style);
// Calls in sections of marks: deepseek, kimi.
std::unique_ptr<TurnParser> MakeSectionParser(ToolStyle style);
// Channels. Without `tools` a call is content, as it stands.
std::unique_ptr<TurnParser> MakeHarmonyParser(bool tools);
// Reasoning between tags at the beginning of a turn; `inner` reads what follows.
std::unique_ptr<TurnParser> MakeReasoningParser(absl::string_view open, absl::string_view close,
                                                bool in_reasoning,
                                                std::unique_ptr<TurnParser> inner);

}  // namespace baton::router
