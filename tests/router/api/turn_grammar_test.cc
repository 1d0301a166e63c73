// Grammars of whole turns, held against texts with the tiny model's tokenizer, which has no marks
// as tokens.
#include "router/api/turn_grammar.h"

#include <gtest/gtest.h>

#include "router/api/structural_tag.h"
#include "router/api/turn_parser.h"
#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

class TurnGrammarTest : public ::testing::Test {
 protected:
  TurnGrammarTest()
      : tokenizer_(*models::text::Tokenizer::FromGguf(TinyModelPath())),
        compiler_(*models::text::GrammarCompiler::Create(*tokenizer_)) {}

  // Whether `text` may be the whole turn.
  bool Accepts(const v1::Grammar& grammar, const std::string& text) {
    auto matcher = compiler_->Compile(models::text::GrammarKind::kLark, grammar.source());
    EXPECT_TRUE(matcher.ok()) << matcher.status() << "\n" << grammar.source();
    if (!matcher.ok() || !(*matcher)->Consume(*tokenizer_->Encode(text, false, false)).ok()) {
      return false;
    }
    std::vector<uint32_t> mask;
    EXPECT_TRUE((*matcher)->Mask(&mask, tokenizer_->vocab_size()).ok());
    const int32_t end = tokenizer_->eos_ids().front();
    return (mask[end / 32] >> (end % 32) & 1) != 0;
  }

  v1::Grammar Held(const TurnFormat& format, const ToolOffer& offer, Generation generation = {}) {
    const auto error = HoldToTools(format, offer, *tokenizer_, &generation);
    EXPECT_FALSE(error) << error->message;
    return generation.sampling.grammar();
  }

  std::unique_ptr<models::text::Tokenizer> tokenizer_;
  std::unique_ptr<models::text::GrammarCompiler> compiler_;
};

ToolOffer Offer(ToolOffer::Choice choice, bool strict = false) {
  ToolOffer offer;
  offer.choice = choice;
  for (const char* name : {"get", "put"}) {
    offer.tools.push_back(
        Json::parse(std::string(R"({"type":"function","function":{"name":")") + name +
                    R"(","parameters":{"type":"object","properties":{"n":{"type":"integer"}},
                           "required":["n"],"additionalProperties":false},"strict":)" +
                    (strict ? "true" : "false") + "}}"));
  }
  return offer;
}

std::string Hermes(const std::string& name, const std::string& arguments) {
  return "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": " + arguments +
         "}\n</tool_call>";
}

TEST_F(TurnGrammarTest, RequiredCallsKeepToNamesSchemasAndNumber) {
  ToolOffer offer = Offer(ToolOffer::Choice::kRequired);
  const v1::Grammar many = Held({}, offer);
  EXPECT_TRUE(Accepts(many, Hermes("get", "{\"n\": 1}")));
  EXPECT_TRUE(Accepts(many, Hermes("get", "{\"n\": 1}") + "\n" + Hermes("put", "{\"n\": 2}")));
  EXPECT_FALSE(Accepts(many, Hermes("cut", "{\"n\": 1}")));
  EXPECT_FALSE(Accepts(many, Hermes("get", "{\"n\": \"1\"}")));
  EXPECT_FALSE(Accepts(many, "words"));
  EXPECT_FALSE(Accepts(many, ""));
  offer.parallel = false;
  const v1::Grammar one = Held({}, offer);
  EXPECT_TRUE(Accepts(one, Hermes("get", "{\"n\": 1}")));
  EXPECT_FALSE(Accepts(one, Hermes("get", "{\"n\": 1}") + "\n" + Hermes("put", "{\"n\": 2}")));
  offer.named = "put";
  const v1::Grammar named = Held({}, offer);
  EXPECT_FALSE(Accepts(named, Hermes("get", "{\"n\": 1}")));
  EXPECT_TRUE(Accepts(named, Hermes("put", "{\"n\": 1}")));
}

TEST_F(TurnGrammarTest, StrictCallsMayBeMadeAndMustBeRight) {
  const v1::Grammar grammar = Held({}, Offer(ToolOffer::Choice::kAuto, /*strict=*/true));
  EXPECT_TRUE(Accepts(grammar, "just words, <b>\nand more"));
  EXPECT_TRUE(Accepts(grammar, ""));
  EXPECT_TRUE(Accepts(grammar, "I look. " + Hermes("get", "{\"n\": 1}") + " done"));
  EXPECT_TRUE(Accepts(grammar, Hermes("get", "{\"n\": 1}") + "\n" + Hermes("put", "{\"n\": 2}")));
  EXPECT_FALSE(Accepts(grammar, "I look. " + Hermes("get", "{\"n\": \"x\"}")));
  EXPECT_FALSE(Accepts(grammar, Hermes("cut", "{\"n\": 1}")));
}

TEST_F(TurnGrammarTest, EveryStyleOfCallIsAcceptedInItsOwnMarks) {
  struct Case {
    TurnFormat format;
    std::string text;
  };
  const std::string json = "{\"n\": 1}";
  const Case cases[] = {
      {{.tools = ToolStyle::kLlama3}, "{\"name\": \"get\", \"parameters\": " + json + "}"},
      {{.tools = ToolStyle::kMistral},
       "[TOOL_CALLS][{\"name\": \"get\", \"arguments\": " + json + "}]"},
      {{.tools = ToolStyle::kMistral, .bare_arguments = true},
       "[TOOL_CALLS]get[ARGS]" + json + "[TOOL_CALLS]put[ARGS]" + json},
      {{.tools = ToolStyle::kDeepSeek},
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get\n```json\n" + json +
           "\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
      {{.tools = ToolStyle::kDeepSeek, .bare_arguments = true},
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get<｜tool▁sep｜>" + json +
           "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
      {{.tools = ToolStyle::kKimi},
       "<|tool_calls_section_begin|><|tool_call_begin|>functions.get:0<|tool_call_argument_begin|"
       ">" +
           json + "<|tool_call_end|><|tool_calls_section_end|>"},
      {{.tools = ToolStyle::kHarmony},
       "<|channel|>commentary to=functions.get <|constrain|>json<|message|>" + json}};
  for (const Case& c : cases) {
    const v1::Grammar grammar = Held(c.format, Offer(ToolOffer::Choice::kRequired));
    EXPECT_TRUE(Accepts(grammar, c.text)) << c.text << "\n" << grammar.source();
    EXPECT_FALSE(Accepts(grammar, "words")) << grammar.source();
    // What the grammar makes the parser reads.
    const auto parser = MakeTurnParser(c.format, true, false);
    TurnParts parts;
    parser->Push(c.text, &parts);
    parser->Finish(&parts);
    ASSERT_GE(parts.size(), 2u) << c.text;
    EXPECT_EQ(parts[0].text, "get");
    EXPECT_EQ(parts[1].text, json);
    // Optional but strict: words or right calls.
    const v1::Grammar free = Held(c.format, Offer(ToolOffer::Choice::kAuto, true));
    EXPECT_TRUE(Accepts(free, c.text)) << free.source();
  }
}

TEST_F(TurnGrammarTest, AFormOfTheAnswerAndToolsGoTogether) {
  Generation generation;
  generation.sampling.mutable_grammar()->set_kind(v1::Grammar::JSON_SCHEMA);
  generation.sampling.mutable_grammar()->set_source("{\"type\":\"array\"}");
  generation.grammar_field = "response_format";
  const v1::Grammar grammar = Held({}, Offer(ToolOffer::Choice::kAuto), generation);
  EXPECT_TRUE(Accepts(grammar, "[1]"));
  EXPECT_TRUE(Accepts(grammar, Hermes("get", "{\"n\": 1}")));
  EXPECT_FALSE(Accepts(grammar, "words"));
  const auto error = HoldToTools({}, Offer(ToolOffer::Choice::kRequired), *tokenizer_, &generation);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->param, "tool_choice");
}

TEST_F(TurnGrammarTest, ReasoningIsFreeAndTheAnswerBehindItIsNot) {
  v1::Grammar regex;
  regex.set_kind(v1::Grammar::REGEX);
  regex.set_source("[a/]+\\d");
  const TurnFormat think{.reasoning = ReasoningStyle::kThink};
  const v1::Grammar closed = BehindReasoning(think, *tokenizer_, false, regex);
  EXPECT_TRUE(Accepts(closed, "a/a1"));
  EXPECT_TRUE(Accepts(closed, "<think>\nwell, {\n</think>\n\na1"));
  EXPECT_FALSE(Accepts(closed, "<think>well</think>b"));
  EXPECT_FALSE(Accepts(closed, "well"));
  const v1::Grammar open = BehindReasoning(think, *tokenizer_, true, regex);
  EXPECT_TRUE(Accepts(open, "\nwell\n</think>\n\na1"));
  EXPECT_FALSE(Accepts(open, "a1"));
  v1::Grammar lark;
  lark.set_kind(v1::Grammar::LARK);
  lark.set_source("start: \"x\" one\none: \"y\"\n");
  EXPECT_TRUE(Accepts(BehindReasoning(think, *tokenizer_, false, lark), "<think>a</think>xy"));
  v1::Grammar schema;
  schema.set_kind(v1::Grammar::JSON_SCHEMA);
  schema.set_source("{\"type\":\"boolean\"}");
  const TurnFormat harmony{.tools = ToolStyle::kHarmony, .reasoning = ReasoningStyle::kHarmony};
  const v1::Grammar final = BehindReasoning(harmony, *tokenizer_, false, schema);
  EXPECT_TRUE(Accepts(final, "<|channel|>final<|message|>true"));
}

TEST_F(TurnGrammarTest, StructuralTagsHoldWhatStandsBetweenTheirMarks) {
  v1::Grammar grammar;
  grammar.set_source(*StructuralTagLark(Json::parse(
      R"({"triggers":["<n"],"structures":[{"begin":"<n>","schema":{"type":"integer"},"end":"</n>"},
          {"begin":"<nb>","schema":{"type":"boolean"},"end":"</nb>"}]})")));
  EXPECT_TRUE(Accepts(grammar, "free <b>text</b>"));
  EXPECT_TRUE(Accepts(grammar, ""));
  EXPECT_TRUE(Accepts(grammar, "one <n>12</n> and <nb>true</nb> end"));
  EXPECT_FALSE(Accepts(grammar, "one <n>x</n>"));
  EXPECT_FALSE(Accepts(grammar, "one <n>12"));
}

TEST_F(TurnGrammarTest, ThePromptTellsWhetherReasoningHasBegun) {
  const TurnFormat think{.reasoning = ReasoningStyle::kThink};
  const auto ends = [&](const std::string& text) {
    return EndsInReasoning(think, *tokenizer_, *tokenizer_->Encode(text, true, false));
  };
  EXPECT_TRUE(ends("<|im_start|>assistant\n<think>\n"));
  EXPECT_FALSE(ends("<|im_start|>assistant\n"));
  EXPECT_FALSE(ends("<think>\n\n</think>\n\n"));
  EXPECT_FALSE(ends(""));
  EXPECT_FALSE(EndsInReasoning({}, *tokenizer_, *tokenizer_->Encode("<think>", true, false)));
}

}  // namespace
}  // namespace baton::router
