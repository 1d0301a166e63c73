#include "router/openai_api.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace baton::router {
namespace {

constexpr int32_t kVocab = 1000;
constexpr char kMessages[] = "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]";
constexpr char kPrompt[] = "\"prompt\":\"hi\"";

std::optional<ApiError> Chat(const std::string& fields, ApiRequest* request) {
  Json body;
  if (auto error = ParseBody("{" + fields + "}", &body)) return error;
  return ParseChatRequest(body, kVocab, request);
}

std::optional<ApiError> Completion(const std::string& fields, ApiRequest* request) {
  Json body;
  if (auto error = ParseBody("{" + fields + "}", &body)) return error;
  return ParseCompletionRequest(body, kVocab, request);
}

// A 400 that names `param`, from both endpoints.
void ExpectRefused(const std::string& param, const std::string& field) {
  for (const bool chat : {true, false}) {
    ApiRequest request;
    const auto error = chat ? Chat(absl::StrCat(kMessages, ",", field), &request)
                            : Completion(absl::StrCat(kPrompt, ",", field), &request);
    ASSERT_TRUE(error) << field;
    EXPECT_EQ(error->http_status, 400) << field;
    EXPECT_EQ(error->param, param) << field << ": " << error->message;
    EXPECT_EQ(error->type, "invalid_request_error");
  }
}

void ExpectTaken(const std::string& field) {
  ApiRequest request;
  auto error = Chat(absl::StrCat(kMessages, ",", field), &request);
  EXPECT_FALSE(error) << field << ": " << error->message;
  error = Completion(absl::StrCat(kPrompt, ",", field), &request);
  EXPECT_FALSE(error) << field << ": " << error->message;
}

TEST(OpenAiApiTest, EveryNumberIsCheckedForTypeAndRange) {
  const char* never[] = {"\"1\"",
                         "true",
                         "[]",
                         "{}",
                         "1e308",
                         "-1e308",
                         "-3",
                         "9223372036854775808",
                         "18446744073709551616",
                         "\"NaN\""};
  for (const char* name : {"temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty",
                           "repetition_penalty", "top_k", "min_tokens", "n", "max_tokens",
                           "max_completion_tokens", "best_of"}) {
    for (const char* value : never) {
      ExpectRefused(name, absl::StrCat("\"", name, "\":", value));
    }
    ExpectTaken(absl::StrCat("\"", name, "\":null"));
  }
}

TEST(OpenAiApiTest, RangesAreThoseOfTheDocumentation) {
  struct Range {
    const char* name;
    std::vector<const char*> good;
    std::vector<const char*> bad;
  };
  for (const Range& range : std::vector<Range>{
           {"temperature", {"0", "2", "0.5", "1e-300"}, {"2.01", "-0.01"}},
           {"top_p", {"1", "0.01"}, {"0", "1.01", "-0.0"}},
           {"min_p", {"0", "0.99"}, {"1", "1.5"}},
           {"frequency_penalty", {"-2", "2"}, {"-2.1", "2.1"}},
           {"presence_penalty", {"-2", "2"}, {"-2.1", "2.1"}},
           {"repetition_penalty", {"0.1", "2"}, {"0", "2.1"}},
           {"top_k", {"-1", "0", "1", "2147483647", "5.0"}, {"-2", "2147483648", "1.5"}},
           {"n", {"1", "8"}, {"0", "9", "1.5", "-1"}},
           {"max_tokens", {"1", "2147483647"}, {"0", "2147483648", "-1", "0.5"}},
           {"max_completion_tokens", {"1"}, {"0", "-1"}},
           {"seed",
            {"0", "-1", "9223372036854775807", "18446744073709551615"},
            {"1.5", "\"1\"", "18446744073709551616", "1e300", "true"}},
           {"min_tokens", {"0", "3"}, {"-1", "0.5"}},
       }) {
    for (const char* value : range.good) ExpectTaken(absl::StrCat("\"", range.name, "\":", value));
    for (const char* value : range.bad) {
      ExpectRefused(range.name, absl::StrCat("\"", range.name, "\":", value));
    }
  }
}

TEST(OpenAiApiTest, FlagsMustBeBooleans) {
  for (const char* name : {"stream", "ignore_eos", "skip_special_tokens", "add_special_tokens"}) {
    ExpectRefused(name, absl::StrCat("\"", name, "\":1"));
    ExpectRefused(name, absl::StrCat("\"", name, "\":\"true\""));
    ExpectTaken(absl::StrCat("\"", name, "\":null"));
  }
}

TEST(OpenAiApiTest, NumbersThatJsonDoesNotHaveMakeTheBodyInvalid) {
  for (const char* text : {"{\"temperature\":NaN}", "{\"temperature\":Infinity}", "{", "", "[]",
                           "1", "{\"a\":1}x", "{\"a\":\"\xff\"}", "{\"a\":01}", "null"}) {
    Json body;
    const auto error = ParseBody(text, &body);
    ASSERT_TRUE(error) << text;
    EXPECT_EQ(error->http_status, 400);
  }
  Json body;
  EXPECT_TRUE(ParseBody(std::string(1000000, '['), &body));
  EXPECT_TRUE(ParseBody("{\"a\":1e400}", &body));
}

TEST(OpenAiApiTest, StopIsAStringOrAShortListOfThem) {
  ApiRequest request;
  ASSERT_FALSE(Chat(absl::StrCat(kMessages, ",\"stop\":[\"a\",\"b\"]"), &request));
  EXPECT_EQ(request.generation.stop_strings, (std::vector<std::string>{"a", "b"}));
  ExpectTaken("\"stop\":\"x\"");
  ExpectTaken("\"stop\":null");
  ExpectTaken("\"stop\":[]");
  for (const char* bad : {"\"\"", "[\"\"]", "[1]", "1", "{}", "[null]", "true"}) {
    ExpectRefused("stop", absl::StrCat("\"stop\":", bad));
  }
  std::string many = "[\"a\"";
  for (int i = 0; i < 16; ++i) many += ",\"a\"";
  ExpectRefused("stop", "\"stop\":" + many + "]");
  ExpectRefused("stop", "\"stop\":\"" + std::string(1025, 'x') + "\"");
}

TEST(OpenAiApiTest, TokenIdsMustBeInTheVocabulary) {
  ExpectTaken("\"stop_token_ids\":[0,999]");
  for (const char* bad : {"[1000]", "[-1]", "[1.5]", "[\"1\"]", "1", "[null]", "[4294967296]"}) {
    ExpectRefused("stop_token_ids", absl::StrCat("\"stop_token_ids\":", bad));
  }
  ExpectTaken("\"logit_bias\":{\"0\":-100,\"999\":100}");
  for (const char* bad : {"{\"1000\":1}", "{\"-1\":1}", "{\"x\":1}", "{\"1\":101}", "{\"1\":\"1\"}",
                          "{\"1\":null}", "[]", "1", "{\"4294967297\":1}"}) {
    ExpectRefused("logit_bias", absl::StrCat("\"logit_bias\":", bad));
  }
}

TEST(OpenAiApiTest, WhatIsNotSupportedAndWouldChangeTheAnswerIsRefusedByName) {
  const std::pair<const char*, const char*> fields[] = {
      {"response_format", "\"json\""}, {"suffix", "\"x\""},
      {"prompt_embeds", "\"x\""},      {"kv_transfer_params", "{\"a\":1}"},
      {"bootstrap_host", "\"h\""},     {"bootstrap_port", "0"},
      {"bootstrap_room", "1"},         {"do_remote_decode", "true"},
      {"use_beam_search", "true"},     {"chat_template", "\"{{x}}\""},
      {"modalities", "[\"audio\"]"},   {"audio", "{\"voice\":\"x\"}"},
      {"functions", "[{}]"},           {"logits_processors", "[\"x\"]"}};
  for (const auto& [name, value] : fields) {
    ExpectRefused(name, absl::StrCat("\"", name, "\":", value));
    ExpectTaken(absl::StrCat("\"", name, "\":null"));
  }
  ExpectRefused("best_of", "\"best_of\":2");
}

TEST(OpenAiApiTest, HarmlessFieldsAreTaken) {
  for (const char* field :
       {"\"user\":\"u\"", "\"store\":false", "\"metadata\":{\"a\":1}", "\"service_tier\":\"auto\"",
        "\"parallel_tool_calls\":true", "\"unknown_field\":[1,2]", "\"priority\":3",
        "\"tool_choice\":\"none\"", "\"response_format\":{\"type\":\"text\"}", "\"best_of\":1",
        "\"n\":2,\"best_of\":2", "\"guided_json\":{}", "\"modalities\":[\"text\"]",
        "\"reasoning_effort\":\"low\"", "\"suffix\":\"\"", "\"model\":\"m\""}) {
    ExpectTaken(field);
  }
  ExpectRefused("model", "\"model\":1");
  ExpectRefused("user", "\"user\":1");
}

TEST(OpenAiApiTest, StreamOptionsNeedAStream) {
  ExpectRefused("stream_options", "\"stream_options\":{\"include_usage\":true}");
  ExpectRefused("stream_options", "\"stream\":true,\"stream_options\":1");
  ExpectRefused("stream_options.include_usage",
                "\"stream\":true,\"stream_options\":{\"include_usage\":1}");
  ApiRequest request;
  ASSERT_FALSE(Chat(absl::StrCat(kMessages,
                                 ",\"stream\":true,\"stream_options\":{\"include_usage\":"
                                 "true,\"continuous_usage_stats\":true}"),
                    &request));
  EXPECT_TRUE(request.shape.include_usage);
  EXPECT_TRUE(request.shape.continuous_usage);
}

TEST(OpenAiApiTest, DefaultsAreThoseOfOpenAi) {
  ApiRequest chat;
  ASSERT_FALSE(Chat(kMessages, &chat));
  EXPECT_EQ(chat.generation.stop.max_tokens(), 0);  // the rest of the context
  EXPECT_EQ(chat.generation.sampling.temperature(), 1.0);
  EXPECT_EQ(chat.generation.sampling.top_p(), 1.0);
  EXPECT_EQ(chat.generation.n, 1);
  EXPECT_FALSE(chat.generation.seed.has_value());
  ApiRequest completion;
  ASSERT_FALSE(Completion(kPrompt, &completion));
  EXPECT_EQ(completion.generation.stop.max_tokens(), 16);
}

TEST(OpenAiApiTest, MaxCompletionTokensWinsOverMaxTokens) {
  ApiRequest request;
  ASSERT_FALSE(
      Chat(absl::StrCat(kMessages, ",\"max_tokens\":5,\"max_completion_tokens\":7"), &request));
  EXPECT_EQ(request.generation.stop.max_tokens(), 7);
  ExpectRefused("min_tokens", "\"max_tokens\":5,\"min_tokens\":6");
}

TEST(OpenAiApiTest, PromptsComeInFourForms) {
  ApiRequest request;
  ASSERT_FALSE(Completion("\"prompt\":\"a\"", &request));
  EXPECT_EQ(request.generation.prompts.size(), 1u);
  request = {};
  ASSERT_FALSE(Completion("\"prompt\":[\"a\",\"b\"]", &request));
  EXPECT_EQ(request.generation.prompts[1].text, "b");
  request = {};
  ASSERT_FALSE(Completion("\"prompt\":[1,2,3]", &request));
  ASSERT_EQ(request.generation.prompts.size(), 1u);
  EXPECT_EQ(request.generation.prompts[0].ids, (std::vector<int32_t>{1, 2, 3}));
  request = {};
  ASSERT_FALSE(Completion("\"prompt\":[[1],[2,3]]", &request));
  EXPECT_EQ(request.generation.prompts[1].ids, (std::vector<int32_t>{2, 3}));
  for (const char* bad : {"1", "{}", "[]", "[[]]", "[1000]", "[-1]", "[[1],\"a\"]", "[\"a\",1]",
                          "[1,\"a\"]", "[[1.5]]", "[null]", "true", "null", "[[[1]]]"}) {
    ApiRequest refused;
    const auto error = Completion(absl::StrCat("\"prompt\":", bad), &refused);
    ASSERT_TRUE(error) << bad;
    EXPECT_EQ(error->param, "prompt") << bad;
  }
  std::string many = "\"a\"";
  for (int i = 0; i < 256; ++i) many += ",\"a\"";
  EXPECT_TRUE(Completion("\"prompt\":[" + many + "]", &request));
}

TEST(OpenAiApiTest, MessagesAreCheckedAndNormalised) {
  std::string out;
  EXPECT_FALSE(ParseMessages(
      Json::parse("[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
                  "{\"type\":\"text\",\"text\":\"b\"}]},{\"content\":\"c\",\"role\":\"user\"}]"),
      &out));
  EXPECT_EQ(out,
            "[{\"role\":\"system\",\"content\":\"ab\"},{\"role\":\"user\",\"content\":\"c\"}]");
  for (const char* bad :
       {"[]", "{}", "\"x\"", "[1]", "[{}]", "[{\"role\":\"user\"}]",
        "[{\"role\":1,\"content\":\"a\"}]", "[{\"role\":\"robot\",\"content\":\"a\"}]",
        "[{\"role\":\"user\",\"content\":1}]", "[{\"role\":\"user\",\"content\":null}]",
        "[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}]",
        "[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]",
        "[{\"role\":\"user\",\"content\":[1]}]"}) {
    const auto error = ParseMessages(Json::parse(bad), &out);
    ASSERT_TRUE(error) << bad;
    EXPECT_EQ(error->param.rfind("messages", 0), 0u) << error->param;
  }
}

TEST(OpenAiApiTest, LogprobsHaveAFormForEachEndpoint) {
  ApiRequest chat;
  ASSERT_FALSE(Chat(absl::StrCat(kMessages, ",\"logprobs\":true,\"top_logprobs\":20"), &chat));
  EXPECT_EQ(chat.generation.sampling.top_logprobs(), 20);
  EXPECT_TRUE(chat.generation.sampling.logprobs());
  EXPECT_EQ(Chat(absl::StrCat(kMessages, ",\"top_logprobs\":2"), &chat)->param, "top_logprobs");
  EXPECT_EQ(Chat(absl::StrCat(kMessages, ",\"logprobs\":true,\"top_logprobs\":21"), &chat)->param,
            "top_logprobs");
  EXPECT_EQ(Chat(absl::StrCat(kMessages, ",\"logprobs\":3"), &chat)->param, "logprobs");
  ApiRequest completion;
  ASSERT_FALSE(Completion(absl::StrCat(kPrompt, ",\"logprobs\":0"), &completion));
  EXPECT_TRUE(completion.shape.logprobs);
  EXPECT_EQ(Completion(absl::StrCat(kPrompt, ",\"logprobs\":21"), &completion)->param, "logprobs");
  EXPECT_EQ(Completion(absl::StrCat(kPrompt, ",\"logprobs\":true"), &completion)->param,
            "logprobs");
}

TEST(OpenAiApiTest, APromptIsScoredForAnEchoWithLogprobsAndForPromptLogprobs) {
  ApiRequest plain, echo, both, chat;
  ASSERT_FALSE(Completion(absl::StrCat(kPrompt, ",\"echo\":true"), &plain));
  EXPECT_FALSE(plain.generation.sampling.has_prompt_logprobs());
  ASSERT_FALSE(
      Completion(absl::StrCat(kPrompt, ",\"logprobs\":0,\"echo\":true,\"max_tokens\":0"), &echo));
  EXPECT_TRUE(echo.generation.sampling.has_prompt_logprobs());
  EXPECT_EQ(echo.generation.sampling.prompt_logprobs(), 0);
  EXPECT_TRUE(echo.generation.score_only);
  EXPECT_EQ(echo.generation.stop.max_tokens(), 1);
  ASSERT_FALSE(Completion(
      absl::StrCat(kPrompt, ",\"logprobs\":2,\"echo\":true,\"prompt_logprobs\":5"), &both));
  EXPECT_EQ(both.generation.sampling.prompt_logprobs(), 5);
  EXPECT_EQ(both.generation.sampling.top_logprobs(), 2);
  EXPECT_FALSE(both.generation.score_only);
  ASSERT_FALSE(Chat(absl::StrCat(kMessages, ",\"prompt_logprobs\":0"), &chat));
  EXPECT_EQ(chat.generation.sampling.prompt_logprobs(), 0);
  for (const char* bad : {"21", "-1", "true", "\"1\"", "1,\"stream\":true"}) {
    ExpectRefused("prompt_logprobs", absl::StrCat("\"prompt_logprobs\":", bad));
  }
  EXPECT_EQ(Completion(absl::StrCat(kPrompt, ",\"max_tokens\":0"), &plain)->param, "max_tokens");
  EXPECT_EQ(Chat(absl::StrCat(kMessages, ",\"max_tokens\":0"), &chat)->param, "max_tokens");
}

TEST(OpenAiApiTest, SpeculationIsSwitchedByRequest) {
  ApiRequest plain, off;
  ASSERT_FALSE(Completion(std::string(kPrompt), &plain));
  EXPECT_FALSE(plain.generation.sampling.has_speculate());
  ASSERT_FALSE(Completion(absl::StrCat(kPrompt, ",\"speculate\":false"), &off));
  EXPECT_TRUE(off.generation.sampling.has_speculate());
  EXPECT_FALSE(off.generation.sampling.speculate());
  for (const char* bad : {"1", "\"ngram\"", "{}"}) {
    ExpectRefused("speculate", absl::StrCat("\"speculate\":", bad));
  }
}

}  // namespace
}  // namespace baton::router
