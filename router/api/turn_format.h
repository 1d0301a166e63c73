// How a family of models writes reasoning and tool calls.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "models/text/tokenizer.h"

namespace baton::router {

enum class ToolStyle : uint8_t {
  kHermes,    // <tool_call>{"name":...,"arguments":{...}}</tool_call>: Hermes, Qwen, and whoever
              // has no style of his own
  kLlama3,    // the whole turn is {"name":...,"parameters":{...}}, or follows <|python_tag|>
  kMistral,   // [TOOL_CALLS][{"name":...,"arguments":{...}}], or [TOOL_CALLS]name[ARGS]{...}
  kDeepSeek,  // <｜tool▁calls▁begin｜>...: V3 with a fenced block, V3.1 with bare JSON
  kKimi,      // <|tool_calls_section_begin|>...
  kHarmony,   // gpt-oss: channels
};

enum class ReasoningStyle : uint8_t {
  kNone,
  kThink,    // <think>...</think>
  kMistral,  // [THINK]...[/THINK]
  kHarmony,  // the channel `analysis`
};

struct TurnFormat {
  ToolStyle tools = ToolStyle::kHermes;
  ReasoningStyle reasoning = ReasoningStyle::kNone;
  // The newer of two forms, in which arguments are bare JSON: Mistral's [ARGS], DeepSeek V3.1.
  bool bare_arguments = false;
  bool template_has_tools = false;  // otherwise the tools are described in the system message
  // Marks that are control tokens, which plain text leaves out (FindMarks).
  bool tool_marks_are_special = false;
  bool reasoning_marks_are_special = false;

  // The tags round reasoning; empty for kNone and kHarmony.
  absl::string_view open_tag() const;
  absl::string_view close_tag() const;
};

// Looks up in the vocabulary which marks of `*format` are control tokens.
void FindMarks(const models::text::Tokenizer& tokenizer, TurnFormat* format);

// The format of a model, from its chat template. `tool_parser` and `reasoning_parser` are the
// configuration's: "auto", or a name that overrules the template (tools: hermes, llama3_json,
// mistral, deepseek, kimi, harmony; reasoning: none, think, mistral, harmony). InvalidArgument for
// other names.
absl::StatusOr<TurnFormat> DetectTurnFormat(absl::string_view chat_template,
                                            absl::string_view tool_parser,
                                            absl::string_view reasoning_parser);

}  // namespace baton::router
