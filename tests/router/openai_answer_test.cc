#include "router/openai_answer.h"

#include <gtest/gtest.h>

#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

class OpenAiAnswerTest : public ::testing::Test {
 protected:
  OpenAiAnswerTest() : tokenizer_(*models::text::Tokenizer::FromGguf(TinyModelPath())) {}
  const AnswerHead head_{"7", "m", 123};
  std::unique_ptr<models::text::Tokenizer> tokenizer_;
};

Delta MakeDelta(const std::string& text, v1::FinishReason finish = v1::FINISH_REASON_UNSPECIFIED) {
  Delta delta;
  delta.text = text;
  delta.finish = finish;
  return delta;
}

v1::Token Byte(char c) {
  v1::Token token;
  token.set_id(3 + static_cast<unsigned char>(c));
  token.mutable_logprob()->set_logprob(-0.25f);
  return token;
}

std::string JsonOf(AnswerCollector& collector) {
  std::string out;
  collector.End({}, &out);
  return out;
}

TEST_F(OpenAiAnswerTest, AChatStreamBeginsWithRoleAndContentInOneChunk) {
  AnswerStream stream(*tokenizer_, {.chat = true, .stream = true}, head_);
  std::string out;
  stream.Add(MakeDelta("He\"l\n"), &out);
  stream.Add(MakeDelta("lo", v1::FINISH_REASON_LENGTH), &out);
  stream.End({}, &out);
  const std::string head =
      "data: {\"id\":\"chatcmpl-7\",\"object\":\"chat.completion.chunk\",\"created\":123,"
      "\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{";
  EXPECT_EQ(out, head +
                     "\"role\":\"assistant\",\"content\":\"He\\\"l\\n\"},\"logprobs\":null,"
                     "\"finish_reason\":null,\"stop_reason\":null}]}\n\n" +
                     head +
                     "\"content\":\"lo\"},\"logprobs\":null,\"finish_reason\":\"length\","
                     "\"stop_reason\":null}]}\n\n"
                     "data: [DONE]\n\n");
}

TEST_F(OpenAiAnswerTest, TheUsageChunkHasNoChoicesAndTheOthersAnEmptyUsage) {
  AnswerStream stream(*tokenizer_, {.stream = true, .include_usage = true}, head_);
  std::string out;
  stream.Add(MakeDelta("x", v1::FINISH_REASON_STOP), &out);
  stream.End({std::nullopt, {5, 1, 2}}, &out);
  const std::string head =
      "data: {\"id\":\"cmpl-7\",\"object\":\"text_completion\",\"created\":123,\"model\":\"m\","
      "\"choices\":[";
  EXPECT_EQ(out, head +
                     "{\"index\":0,\"text\":\"x\",\"logprobs\":null,\"finish_reason\":\"stop\","
                     "\"stop_reason\":null}],\"usage\":null}\n\n" +
                     head +
                     "],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1,"
                     "\"total_tokens\":6,\"prompt_tokens_details\":{\"cached_tokens\":2}}}"
                     "\n\ndata: [DONE]\n\n");
}

TEST_F(OpenAiAnswerTest, AFailureInMidStreamIsAnEventBeforeTheEnd) {
  AnswerStream stream(*tokenizer_, {.chat = true, .stream = true, .include_usage = true}, head_);
  std::string out;
  stream.End({NotReady("gone"), {}}, &out);
  EXPECT_EQ(out,
            "data: {\"error\":{\"message\":\"gone\",\"type\":\"service_unavailable_error\","
            "\"param\":null,\"code\":\"service_unavailable\"}}\n\ndata: [DONE]\n\n");
}

TEST_F(OpenAiAnswerTest, LogprobsOfChatsNameTokenBytesAndAlternatives) {
  AnswerCollector collector(*tokenizer_, {.chat = true, .logprobs = true, .top_logprobs = 1},
                            head_);
  Delta delta = MakeDelta("a", v1::FINISH_REASON_LENGTH);
  delta.tokens.push_back(Byte('a'));
  v1::TokenLogprob* top = delta.tokens[0].add_top();
  top->set_id(3 + 'b');
  top->set_logprob(-1.5f);
  collector.Add(delta, nullptr);
  const Json choice = Json::parse(JsonOf(collector))["choices"][0];
  EXPECT_EQ(choice["logprobs"].dump(),
            "{\"content\":[{\"token\":\"a\",\"logprob\":-0.25,\"bytes\":[97],"
            "\"top_logprobs\":[{\"token\":\"b\",\"logprob\":-1.5,\"bytes\":[98]}]}]}");
  EXPECT_EQ(choice["message"]["content"], "a");
}

TEST_F(OpenAiAnswerTest, LogprobsOfCompletionsHaveOffsetsInCharacters) {
  AnswerCollector collector(*tokenizer_, {.logprobs = true}, head_);
  Delta delta = MakeDelta("ab", v1::FINISH_REASON_LENGTH);
  delta.tokens = {Byte('a'), Byte('b')};
  collector.Add(delta, nullptr);
  delta = MakeDelta("c");
  delta.tokens = {Byte('c')};
  collector.Add(delta, nullptr);
  EXPECT_EQ(Json::parse(JsonOf(collector))["choices"][0]["logprobs"].dump(),
            "{\"text_offset\":[0,1,2],\"token_logprobs\":[-0.25,-0.25,-0.25],"
            "\"tokens\":[\"a\",\"b\",\"c\"],"
            "\"top_logprobs\":[{\"a\":-0.25},{\"b\":-0.25},{\"c\":-0.25}]}");
}

TEST_F(OpenAiAnswerTest, AnImpossibleTokenHasAFiniteNumber) {
  AnswerCollector collector(*tokenizer_, {.chat = true, .logprobs = true}, head_);
  Delta delta = MakeDelta("a");
  delta.tokens = {Byte('a')};
  delta.tokens[0].mutable_logprob()->set_logprob(-std::numeric_limits<float>::infinity());
  collector.Add(delta, nullptr);
  EXPECT_EQ(Json::parse(JsonOf(collector))["choices"][0]["logprobs"]["content"][0]["logprob"]
                .get<double>(),
            -9999.0);
}

TEST_F(OpenAiAnswerTest, StopReasonsAreAStringOrATokenId) {
  AnswerCollector collector(*tokenizer_, {}, head_);
  Delta first = MakeDelta("a", v1::FINISH_REASON_STOP);
  first.stop_reason = std::string("END");
  Delta second = MakeDelta("b", v1::FINISH_REASON_STOP);
  second.choice = 1;
  second.stop_reason = int32_t{42};
  collector.Add(second, nullptr);
  collector.Add(first, nullptr);
  const Json choices = Json::parse(JsonOf(collector))["choices"];
  EXPECT_EQ(choices[0]["stop_reason"], "END");
  EXPECT_EQ(choices[0]["index"], 0);
  EXPECT_EQ(choices[1]["stop_reason"], 42);
}

}  // namespace
}  // namespace baton::router
