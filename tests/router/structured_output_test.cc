#include "router/api/structured_output.h"

#include <gmock/gmock.h>

#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

using ::testing::HasSubstr;

struct Read {
  std::optional<AnswerForm> form;
  std::optional<ApiError> error;
};

Read ReadForm(const std::string& text) {
  const Json body = Json::parse("{" + text + "}");
  FieldReader fields(body);
  Read read;
  read.form = ReadAnswerForm(fields);
  read.error = fields.error();
  return read;
}

TEST(AnswerFormTest, EachWayToAskForAFormGivesItsGrammar) {
  struct Case {
    const char* text;
    v1::Grammar::Kind kind;
    const char* source;
    const char* field;
  };
  const Case cases[] = {
      {R"("response_format":{"type":"json_object"})", v1::Grammar::JSON_SCHEMA,
       R"({"type":"object"})", "response_format"},
      {R"("response_format":{"type":"json_schema","json_schema":{"name":"x","strict":true,
          "schema":{"type":"array"}}})",
       v1::Grammar::JSON_SCHEMA, R"({"type":"array"})", "response_format.json_schema.schema"},
      {R"("guided_json":{"type":"null"})", v1::Grammar::JSON_SCHEMA, R"({"type":"null"})",
       "guided_json"},
      {R"("guided_json":"{\"type\":\"null\"}")", v1::Grammar::JSON_SCHEMA, R"({"type":"null"})",
       "guided_json"},
      {R"("guided_regex":"a+")", v1::Grammar::REGEX, "a+", "guided_regex"},
      {R"("guided_choice":["a.b","c|d"])", v1::Grammar::REGEX, R"((a\.b|c\|d))", "guided_choice"},
      {R"("guided_grammar":"start: \"a\"")", v1::Grammar::LARK, R"(start: "a")", "guided_grammar"},
      {R"("structured_outputs":{"regex":"b","json":null})", v1::Grammar::REGEX, "b",
       "structured_outputs.regex"},
      {R"("structured_outputs":{"json_object":true})", v1::Grammar::JSON_SCHEMA,
       R"({"type":"object"})", "structured_outputs.json_object"}};
  for (const Case& c : cases) {
    const Read read = ReadForm(c.text);
    ASSERT_FALSE(read.error) << c.text << read.error->message;
    ASSERT_TRUE(read.form) << c.text;
    EXPECT_EQ(read.form->grammar.kind(), c.kind) << c.text;
    EXPECT_EQ(read.form->grammar.source(), c.source) << c.text;
    EXPECT_EQ(read.form->field, c.field);
  }
  for (const char* free : {"", R"("response_format":{"type":"text"})", R"("guided_json":null)",
                           R"("structured_outputs":{"json_object":false})"}) {
    const Read read = ReadForm(free);
    EXPECT_FALSE(read.form || read.error) << free;
  }
}

TEST(AnswerFormTest, WhatIsWrongIsRefusedByName) {
  const std::pair<const char*, const char*> cases[] = {
      {"response_format", R"("response_format":"json")"},
      {"response_format.type", R"("response_format":{"type":"xml"})"},
      {"response_format", R"("response_format":{"type":"structural_tag"})"},
      {"response_format", R"("response_format":{"type":"structural_tag","triggers":["<a"],
          "structures":[{"begin":"<b>","schema":{},"end":"</b>"}]})"},
      {"response_format.json_schema", R"("response_format":{"type":"json_schema"})"},
      {"response_format.json_schema.schema",
       R"("response_format":{"type":"json_schema","json_schema":{"name":"x"}})"},
      {"guided_json", R"("guided_json":1)"},
      {"guided_regex", R"("guided_regex":"")"},
      {"guided_choice", R"("guided_choice":[])"},
      {"guided_choice", R"("guided_choice":["a",1])"},
      {"guided_grammar", R"("guided_grammar":{})"},
      {"structured_outputs", R"("structured_outputs":[])"},
      {"structured_outputs.structural_tag", R"("structured_outputs":{"structural_tag":"x"})"},
      {"guided_regex", R"("response_format":{"type":"json_object"},"guided_regex":"a")"},
      {"structured_outputs.regex", R"("structured_outputs":{"json":{},"regex":"a"})"}};
  for (const auto& [field, text] : cases) {
    const Read read = ReadForm(text);
    ASSERT_TRUE(read.error) << text;
    EXPECT_EQ(read.error->param, field) << text;
    EXPECT_EQ(read.error->http_status, 400);
  }
}

using StructuredRequestTest = RouterFixture;

TEST_F(StructuredRequestTest, AGrammarThatCannotBeEnforcedIsRefusedBeforeAnyNodeHearsOfIt) {
  StartCluster("Hello");
  for (const char* field : {R"("guided_regex":"(")", R"("guided_json":{"type":"oops"})",
                            R"("guided_grammar":"beginning: \"a\"")"}) {
    const RawReply reply =
        Ask("/v1/completions", std::string("{\"prompt\":[5,6],\"max_tokens\":3,") + field + "}");
    EXPECT_EQ(reply.status, 400) << reply.body;
    EXPECT_THAT(reply.body, HasSubstr("\"param\":\"guided_"));
  }
  EXPECT_EQ(prefill->calls(), 0);
}

TEST_F(StructuredRequestTest, TheGrammarReachesBothNodes) {
  StartCluster("Hello");
  const RawReply reply = Ask("/v1/completions",
                             R"({"prompt":[5,6],"max_tokens":3,"guided_regex":"Hel+o",
                                 "allowed_token_ids":[5,6],"bad_words":["ab"]})");
  EXPECT_EQ(reply.status, 200) << reply.body;
  for (const v1::SamplingParams& sampling : {prefill->prefill_requests().back().sampling(),
                                             decode->decode_requests().back().sampling()}) {
    EXPECT_EQ(sampling.grammar().source(), "Hel+o");
    EXPECT_EQ(sampling.allowed_token_ids_size(), 2);
    ASSERT_GE(sampling.bad_sequences_size(), 1);
    EXPECT_GE(sampling.bad_sequences(0).ids_size(), 1);
  }
}

}  // namespace
}  // namespace baton::router
