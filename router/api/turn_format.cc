#include "router/api/turn_format.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace baton::router {
namespace {

ToolStyle ToolsOf(absl::string_view chat_template) {
  const std::pair<absl::string_view, ToolStyle> signs[] = {
      {"<|channel|>", ToolStyle::kHarmony},
      {"<|tool_calls_section_begin|>", ToolStyle::kKimi},
      {"<｜tool▁calls▁begin｜>", ToolStyle::kDeepSeek},
      {"[TOOL_CALLS]", ToolStyle::kMistral},
      {"<tool_call>", ToolStyle::kHermes},
      {"<|python_tag|>", ToolStyle::kLlama3},
      {"<|start_header_id|>", ToolStyle::kLlama3}};
  for (const auto& [sign, style] : signs) {
    if (absl::StrContains(chat_template, sign)) return style;
  }
  return ToolStyle::kHermes;
}

ReasoningStyle ReasoningOf(absl::string_view chat_template) {
  if (absl::StrContains(chat_template, "<|channel|>")) return ReasoningStyle::kHarmony;
  if (absl::StrContains(chat_template, "[THINK]")) return ReasoningStyle::kMistral;
  if (absl::StrContains(chat_template, "</think>")) return ReasoningStyle::kThink;
  return ReasoningStyle::kNone;
}

}  // namespace

absl::string_view TurnFormat::open_tag() const {
  if (reasoning == ReasoningStyle::kThink) return "<think>";
  return reasoning == ReasoningStyle::kMistral ? "[THINK]" : "";
}

absl::string_view TurnFormat::close_tag() const {
  if (reasoning == ReasoningStyle::kThink) return "</think>";
  return reasoning == ReasoningStyle::kMistral ? "[/THINK]" : "";
}

void FindMarks(const models::text::Tokenizer& tokenizer, TurnFormat* format) {
  const auto special = [&](absl::string_view mark) {
    const auto ids = tokenizer.Encode(mark, /*parse_special=*/true, /*add_bos=*/false);
    return ids.ok() && ids->size() == 1 && tokenizer.IsSpecial(ids->front());
  };
  const absl::string_view tool_marks[] = {"<tool_call>",
                                          "<|python_tag|>",
                                          "[TOOL_CALLS]",
                                          "<｜tool▁calls▁begin｜>",
                                          "<|tool_calls_section_begin|>",
                                          "<|channel|>"};
  format->tool_marks_are_special = special(tool_marks[static_cast<int>(format->tools)]);
  if (format->reasoning == ReasoningStyle::kNone) return;
  const absl::string_view tag = format->open_tag();
  format->reasoning_marks_are_special = special(tag.empty() ? "<|channel|>" : tag);
}

absl::StatusOr<TurnFormat> DetectTurnFormat(absl::string_view chat_template,
                                            absl::string_view tool_parser,
                                            absl::string_view reasoning_parser) {
  TurnFormat format;
  format.tools = ToolsOf(chat_template);
  format.reasoning = ReasoningOf(chat_template);
  if (format.tools == ToolStyle::kMistral) {
    format.bare_arguments = absl::StrContains(chat_template, "[ARGS]");
  } else {
    format.bare_arguments = !absl::StrContains(chat_template, "```json");
  }
  format.template_has_tools = absl::StrContains(chat_template, "tools");
  const std::pair<absl::string_view, ToolStyle> tools[] = {
      {"hermes", ToolStyle::kHermes},   {"llama3_json", ToolStyle::kLlama3},
      {"mistral", ToolStyle::kMistral}, {"deepseek", ToolStyle::kDeepSeek},
      {"kimi", ToolStyle::kKimi},       {"harmony", ToolStyle::kHarmony}};
  bool known = tool_parser == "auto";
  for (const auto& [name, style] : tools) {
    if (name != tool_parser) continue;
    format.tools = style;
    known = true;
  }
  if (!known) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tool_parser is \"", tool_parser,
        "\"; known are auto, hermes, llama3_json, mistral, deepseek, kimi and harmony"));
  }
  const std::pair<absl::string_view, ReasoningStyle> reasonings[] = {
      {"none", ReasoningStyle::kNone},
      {"think", ReasoningStyle::kThink},
      {"mistral", ReasoningStyle::kMistral},
      {"harmony", ReasoningStyle::kHarmony}};
  known = reasoning_parser == "auto";
  for (const auto& [name, style] : reasonings) {
    if (name != reasoning_parser) continue;
    format.reasoning = style;
    known = true;
  }
  if (!known) {
    return absl::InvalidArgumentError(
        absl::StrCat("reasoning_parser is \"", reasoning_parser,
                     "\"; known are auto, none, think, mistral and harmony"));
  }
  return format;
}

}  // namespace baton::router
