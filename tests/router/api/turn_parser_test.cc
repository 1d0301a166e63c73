// Goldens of every way of writing reasoning and calls, and: no cut of the text changes the parts.
#include "router/api/turn_parser.h"

#include <gtest/gtest.h>

#include <random>

namespace baton::router {

std::ostream& operator<<(std::ostream& out, const TurnPart& part) {
  static constexpr const char* kNames[] = {"content", "reasoning", "call", "arguments"};
  return out << kNames[static_cast<int>(part.kind)] << "(" << part.text
             << (part.id.empty() ? "" : " id " + part.id) << ")";
}
bool operator==(const TurnPart& a, const TurnPart& b) {
  return a.kind == b.kind && a.text == b.text && a.id == b.id;
}

namespace {

struct Golden {
  const char* name;
  ToolStyle tools;
  ReasoningStyle reasoning;
  bool in_reasoning;
  std::string text;
  TurnParts parts;
};

TurnPart Content(const std::string& text) { return {TurnPart::Kind::kContent, text, ""}; }
TurnPart Thought(const std::string& text) { return {TurnPart::Kind::kReasoning, text, ""}; }
TurnPart Call(const std::string& name, const std::string& id = "") {
  return {TurnPart::Kind::kCall, name, id};
}
TurnPart Arguments(const std::string& text) { return {TurnPart::Kind::kArguments, text, ""}; }

using T = ToolStyle;
using R = ReasoningStyle;

const std::vector<Golden> kGoldens = {
    {"words",
     T::kHermes,
     R::kNone,
     false,
     " Hello, <b>you</b> \n",
     {Content(" Hello, <b>you</b> \n")}},
    {"hermes",
     T::kHermes,
     R::kNone,
     false,
     "I look.\n\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"city\": \"Zü}r\\\"ich\", "
     "\"n\": [1, {\"a\": null}]}}\n</tool_call>",
     {Content("I look."), Call("get"),
      Arguments("{\"city\": \"Zü}r\\\"ich\", \"n\": [1, {\"a\": null}]}")}},
    {"hermes, two calls and words behind",
     T::kHermes,
     R::kNone,
     false,
     "<tool_call>\n{\"name\": \"a\", \"arguments\": "
     "{}}\n</tool_call>\n<tool_call>{\"arguments\": "
     "{\"x\": 1}, \"name\": \"b\"}</tool_call> done",
     {Call("a"), Arguments("{}"), Call("b"), Arguments("{\"x\": 1}"), Content("done")}},
    {"hermes, arguments in a string, or none",
     T::kHermes,
     R::kNone,
     false,
     "<tool_call>{\"name\":\"a\",\"arguments\":\"{\\\"k\\\":2}\"}</tool_call><tool_call>"
     "{\"name\":\"b\"}</tool_call>",
     {Call("a"), Arguments("{\"k\":2}"), Call("b"), Arguments("{}")}},
    {"hermes, a brace too many",
     T::kHermes,
     R::kNone,
     false,
     "<tool_call>\n{\"name\": \"a\", \"arguments\": {\"k\": 1}}}\n</tool_call>",
     {Call("a"), Arguments("{\"k\": 1}")}},
    {"hermes, no call after all",
     T::kHermes,
     R::kNone,
     false,
     "the mark <tool_call> is text, and <tool_call>{\"x\": 1}</tool_cal",
     {Content("the mark <tool_call>is text, and <tool_call>{\"x\": 1}</tool_cal")}},
    {"hermes, cut off",
     T::kHermes,
     R::kNone,
     false,
     "<tool_call>\n{\"name\": \"a\", \"arguments\": {\"k\": \"va",
     {Call("a"), Arguments("{\"k\": \"va")}},
    {"hermes, cut off before the name",
     T::kHermes,
     R::kNone,
     false,
     "Well <tool_call>\n{\"na",
     {Content("Well <tool_call>{\"na")}},
    {"qwen thinks",
     T::kHermes,
     R::kThink,
     false,
     "<think>\nHmm, <tool_call> is a mark.\n</think>\n\n<tool_call>\n{\"name\": \"a\", "
     "\"arguments\": {}}\n</tool_call>",
     {Thought("Hmm, <tool_call> is a mark."), Call("a"), Arguments("{}")}},
    {"the prompt opened the thought",
     T::kHermes,
     R::kThink,
     true,
     "Hmm.\n\n</think>\n\nYes </think>.",
     {Thought("Hmm."), Content("Yes </think>.")}},
    {"a thought without end", T::kHermes, R::kThink, false, "<think>a <b", {Thought("a <b")}},
    {"no thought", T::kHermes, R::kThink, false, "  <thin", {Content("  <thin")}},
    {"a tag in the middle is text",
     T::kHermes,
     R::kThink,
     false,
     "Say <think>x</think>.",
     {Content("Say <think>x</think>.")}},
    {"llama",
     T::kLlama3,
     R::kNone,
     false,
     "\n{\"type\": \"function\", \"name\": \"get\", \"parameters\": {\"q\": \"a;b\"}}; "
     "{\"name\": \"put\", \"parameters\": {}}",
     {Call("get"), Arguments("{\"q\": \"a;b\"}"), Call("put"), Arguments("{}")}},
    {"llama's python tag",
     T::kLlama3,
     R::kNone,
     false,
     "Sure. <|python_tag|>{\"name\": \"get\", \"parameters\": {\"q\": 1.5e3}}",
     {Content("Sure."), Call("get"), Arguments("{\"q\": 1.5e3}")}},
    {"llama answers in JSON",
     T::kLlama3,
     R::kNone,
     false,
     "{\"name\": \"Bob\", \"age\": 3} is he",
     {Content("{\"name\": \"Bob\", \"age\": 3} is he")}},
    {"mistral",
     T::kMistral,
     R::kMistral,
     false,
     "[THINK]hm[/THINK][TOOL_CALLS] [{\"name\": \"a\", \"arguments\": {\"x\": \"]\"}}, "
     "{\"name\": \"b\", \"arguments\": {}}]",
     {Thought("hm"), Call("a"), Arguments("{\"x\": \"]\"}"), Call("b"), Arguments("{}")}},
    {"mistral's newer form",
     T::kMistral,
     R::kNone,
     false,
     "Ok[TOOL_CALLS]get_it[ARGS]{\"x\": {\"y\": [1]}}[TOOL_CALLS]b[CALL_ID]abc123def[ARGS]{}"
     "[TOOL_CALLS]c{\"z\": \"}\"}",
     {Content("Ok"), Call("get_it"), Arguments("{\"x\": {\"y\": [1]}}"), Call("b", "abc123def"),
      Arguments("{}"), Call("c"), Arguments("{\"z\": \"}\"}")}},
    {"deepseek v3",
     T::kDeepSeek,
     R::kThink,
     true,
     "so</think>\n\nLet me.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get\n"
     "```json\n{\"x\": \"```\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function"
     "<｜tool▁sep｜>put\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     {Thought("so"), Content("Let me."), Call("get"), Arguments("{\"x\": \"```\"}"), Call("put"),
      Arguments("{}")}},
    {"deepseek v3.1",
     T::kDeepSeek,
     R::kNone,
     false,
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get<｜tool▁sep｜>{\"x\": 1}<｜tool▁call▁end｜>"
     "<｜tool▁calls▁end｜>",
     {Call("get"), Arguments("{\"x\": 1}")}},
    {"kimi",
     T::kKimi,
     R::kNone,
     false,
     "Looking. <|tool_calls_section_begin|><|tool_call_begin|>functions.get.it:0"
     "<|tool_call_argument_begin|>{\"x\": 1} <|tool_call_end|><|tool_call_begin|>functions.b:1"
     "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
     {Content("Looking."), Call("get.it", "functions.get.it:0"), Arguments("{\"x\": 1}"),
      Call("b", "functions.b:1"), Arguments("{}")}},
    {"harmony",
     T::kHarmony,
     R::kHarmony,
     false,
     "<|channel|>analysis<|message|>The user asks.<|end|><|start|>assistant<|channel|>commentary "
     "to=functions.get <|constrain|>json<|message|>{\"x\": 1}<|call|>",
     {Thought("The user asks."), Call("get"), Arguments("{\"x\": 1}")}},
    {"harmony, the recipient first, then an answer",
     T::kHarmony,
     R::kHarmony,
     false,
     "<|channel|>analysis<|message|>a<|end|><|start|>assistant to=functions.f<|channel|>"
     "commentary<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>Hi <there>",
     {Thought("a"), Call("f"), Arguments("{}"), Content("Hi <there>")}},
    {"harmony without channels", T::kHarmony, R::kHarmony, false, "plain", {Content("plain")}},
};

// Neighbours of one kind joined.
void Join(const TurnParts& from, TurnParts* to) {
  for (const TurnPart& part : from) {
    if (part.kind == TurnPart::Kind::kCall) {
      to->push_back(part);
    } else {
      AppendText(part.kind, part.text, to);
    }
  }
}

TurnParts Read(const Golden& golden, const std::vector<size_t>& cuts) {
  const TurnFormat format{.tools = golden.tools, .reasoning = golden.reasoning};
  const auto parser = MakeTurnParser(format, /*tools=*/true, golden.in_reasoning);
  TurnParts joined;
  size_t from = 0;
  for (size_t cut : cuts) {
    TurnParts parts;
    parser->Push(absl::string_view(golden.text).substr(from, cut - from), &parts);
    Join(parts, &joined);
    from = cut;
  }
  TurnParts parts;
  parser->Push(absl::string_view(golden.text).substr(from), &parts);
  parser->Finish(&parts);
  Join(parts, &joined);
  return joined;
}

TEST(TurnParserTest, EachWayOfWritingIsReadAsItsGoldenSays) {
  for (const Golden& golden : kGoldens) {
    SCOPED_TRACE(golden.name);
    EXPECT_EQ(Read(golden, {}), golden.parts);
  }
}

TEST(TurnParserTest, NoCutOfTheTextChangesTheParts) {
  std::mt19937 random(7);
  for (const Golden& golden : kGoldens) {
    SCOPED_TRACE(golden.name);
    for (size_t cut = 1; cut < golden.text.size(); ++cut) {
      ASSERT_EQ(Read(golden, {cut}), golden.parts) << "cut at " << cut;
    }
    std::vector<size_t> every;
    for (size_t i = 1; i < golden.text.size(); ++i) every.push_back(i);
    ASSERT_EQ(Read(golden, every), golden.parts) << "byte by byte";
    for (int round = 0; round < 50; ++round) {
      std::vector<size_t> some;
      for (const size_t at : every) {
        if (random() % 4 == 0) some.push_back(at);
      }
      ASSERT_EQ(Read(golden, some), golden.parts) << "round " << round;
    }
  }
}

// Text that is made of marks and pieces of JSON in any order: nothing crashes, and cuts do not
// matter here either.
TEST(TurnParserTest, NoHeapOfMarksBreaksAParser) {
  const std::string pieces[] = {"<tool_call>",
                                "</tool_call>",
                                "{\"name\": \"f\"",
                                ", \"arguments\": {",
                                "}",
                                "]",
                                "[",
                                "\"",
                                "\\",
                                " ",
                                "\n",
                                "x",
                                "<think>",
                                "</think>",
                                "[TOOL_CALLS]",
                                "[ARGS]",
                                "<|python_tag|>",
                                ";",
                                "<|channel|>",
                                "<|message|>",
                                "<|end|>",
                                "analysis",
                                "to=functions.g",
                                "<｜tool▁calls▁begin｜>",
                                "<｜tool▁call▁begin｜>",
                                "<｜tool▁sep｜>",
                                "function",
                                "```json",
                                "```<｜tool▁call▁end｜>",
                                "<|tool_call_begin|>",
                                "<|tool_call_argument_begin|>",
                                "<|tool_call_end|>"};
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    Golden golden{"heap",
                  static_cast<ToolStyle>(random() % 6),
                  static_cast<ReasoningStyle>(random() % 4),
                  random() % 2 == 0,
                  "",
                  {}};
    const size_t count = 1 + random() % 12;
    for (size_t i = 0; i < count; ++i) {
      golden.text += pieces[random() % (sizeof(pieces) / sizeof(pieces[0]))];
    }
    const TurnParts whole = Read(golden, {});
    std::vector<size_t> every;
    for (size_t i = 1; i < golden.text.size(); ++i) every.push_back(i);
    ASSERT_EQ(Read(golden, every), whole)
        << golden.text << " style " << static_cast<int>(golden.tools) << " "
        << static_cast<int>(golden.reasoning);
    for (size_t i = 0; i < whole.size(); ++i) {
      if (whole[i].kind == TurnPart::Kind::kArguments) {
        ASSERT_TRUE(i > 0 && whole[i - 1].kind == TurnPart::Kind::kCall) << golden.text;
      }
    }
  }
}

TEST(TurnFormatTest, TheTemplateTellsTheStyle) {
  const std::pair<const char*, ToolStyle> tools[] = {
      {"{{ '<|im_start|>' }}", ToolStyle::kHermes},
      {"{{ tools }}<tool_call>", ToolStyle::kHermes},
      {"<|start_header_id|>{{ tools }}", ToolStyle::kLlama3},
      {"[TOOL_CALLS]", ToolStyle::kMistral},
      {"<｜tool▁calls▁begin｜>", ToolStyle::kDeepSeek},
      {"<|tool_calls_section_begin|>", ToolStyle::kKimi},
      {"<|start|>assistant<|channel|>", ToolStyle::kHarmony}};
  for (const auto& [source, style] : tools) {
    EXPECT_EQ(DetectTurnFormat(source, "auto", "auto")->tools, style) << source;
  }
  EXPECT_EQ(DetectTurnFormat("</think>", "auto", "auto")->reasoning, ReasoningStyle::kThink);
  EXPECT_EQ(DetectTurnFormat("</think>", "kimi", "none")->reasoning, ReasoningStyle::kNone);
  EXPECT_EQ(DetectTurnFormat("</think>", "kimi", "none")->tools, ToolStyle::kKimi);
  EXPECT_FALSE(DetectTurnFormat("", "kim", "auto").ok());
  EXPECT_FALSE(DetectTurnFormat("", "auto", "deep").ok());
}

}  // namespace
}  // namespace baton::router
