// Prompts that are scored, and embeddings, over real sockets with nodes that say what they are
// told.
#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

using SequenceReadingTest = RouterFixture;

TEST_F(SequenceReadingTest, AnEchoWithLogprobsScoresThePrompt) {
  StartCluster("yes");
  const std::string body = "{\"prompt\":\"ABCD\",\"echo\":true,\"logprobs\":1,\"max_tokens\":";
  const Json answer = Json::parse(Ask("/v1/completions", body + "0}").body);
  const Json& choice = answer["choices"][0];
  EXPECT_EQ(choice["text"], "ABCD");
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(answer["usage"]["completion_tokens"], 0);
  const Json& logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["tokens"], Json({"A", "B", "C", "D"}));
  EXPECT_EQ(logprobs["token_logprobs"], Json({nullptr, -1.5, -2.5, -3.5}));
  EXPECT_EQ(logprobs["text_offset"], Json({0, 1, 2, 3}));
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["top_logprobs"][2], (Json{{"z", -0.25}, {"C", -2.5}}));
  EXPECT_EQ(decode->calls(), 0);

  const Json more = Json::parse(Ask("/v1/completions", body + "2}").body);
  EXPECT_EQ(more["choices"][0]["text"], "ABCDye");
  EXPECT_EQ(more["choices"][0]["logprobs"]["tokens"], Json({"A", "B", "C", "D", "y", "e"}));
  EXPECT_EQ(more["choices"][0]["logprobs"]["text_offset"], Json({0, 1, 2, 3, 4, 5}));
  // The decode node computes no prompt.
  EXPECT_FALSE(decode->decode_requests().back().sampling().has_prompt_logprobs());
  const std::string stream = Ask("/v1/completions", body + "2,\"stream\":true}").body;
  EXPECT_NE(stream.find("\"token_logprobs\":[null,-1.5,-2.5,-3.5,"), std::string::npos) << stream;
}

TEST_F(SequenceReadingTest, PromptLogprobsHaveVllmsForm) {
  StartCluster("yes");
  const Json completion = Json::parse(
      Ask("/v1/completions", "{\"prompt\":\"AB\",\"prompt_logprobs\":1,\"max_tokens\":1}").body);
  const Json& scores = completion["choices"][0]["prompt_logprobs"];
  ASSERT_EQ(scores.size(), 2u);
  EXPECT_TRUE(scores[0].is_null());
  EXPECT_EQ(scores[1][std::to_string(3 + 'B')],
            (Json{{"logprob", -1.5}, {"rank", 7}, {"decoded_token", "B"}}));
  EXPECT_EQ(scores[1][std::to_string(3 + 'z')],
            (Json{{"logprob", -0.25}, {"rank", 1}, {"decoded_token", "z"}}));
  const Json chat = Json::parse(
      Ask("/v1/chat/completions",
          "{\"messages\":[{\"role\":\"user\",\"content\":\"ab\"}],\"prompt_logprobs\":0}")
          .body);
  EXPECT_EQ(chat["prompt_logprobs"].size(), chat["usage"]["prompt_tokens"]);
  EXPECT_EQ(chat["prompt_logprobs"].back().size(), 1u);
}

TEST_F(SequenceReadingTest, APromptThatWasNotScoredWholeIsAnError) {
  StartCluster("yes");
  fakes::NodeScript script;
  for (const int32_t from : {1, 2, 3}) {
    script.drop_scores_from = from;
    prefill->SetScript(script);
    EXPECT_EQ(Ask("/v1/completions", "{\"prompt\":\"ABCD\",\"prompt_logprobs\":1}").status, 500);
  }
}

TEST_F(SequenceReadingTest, EmbeddingsComeInTheOrderOfTheirTexts) {
  StartCluster("yes");
  const Json answer = Json::parse(Ask("/v1/embeddings", "{\"input\":[\"AB\",\"C\"]}").body);
  EXPECT_EQ(answer["object"], "list");
  ASSERT_EQ(answer["data"].size(), 2u);
  EXPECT_EQ(answer["data"][0]["embedding"], Json({1.5, 3 + 'A', 3 + 'B'}));
  EXPECT_EQ(answer["data"][1]["embedding"], Json({1.5, 3 + 'C'}));
  EXPECT_EQ(answer["data"][1]["index"], 1);
  EXPECT_EQ(answer["usage"], (Json{{"prompt_tokens", 3}, {"total_tokens", 3}}));
  const Json raw = Json::parse(
      Ask("/v1/embeddings", "{\"input\":[1,2],\"encoding_format\":\"base64\",\"normalize\":false}")
          .body);
  EXPECT_EQ(raw["data"][0]["embedding"], "AACAPwAAgD8AAABA");  // 1, 1, 2
  EXPECT_EQ(decode->calls(), 0);
  const std::pair<const char*, const char*> refused[] = {
      {"input", "{}"},
      {"input", "{\"input\":[]}"},
      {"input", "{\"input\":\"\"}"},
      {"input", "{\"input\":[100000]}"},
      {"encoding_format", "{\"input\":\"a\",\"encoding_format\":\"int8\"}"},
      {"dimensions", "{\"input\":\"a\",\"dimensions\":64}"},
      {"truncate_prompt_tokens", "{\"input\":\"a\",\"truncate_prompt_tokens\":3}"}};
  for (const auto& [param, body] : refused) {
    const RawReply reply = Ask("/v1/embeddings", body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_EQ(Json::parse(reply.body)["error"]["param"], param) << body;
  }
}

TEST_F(SequenceReadingTest, ThePoolingOfEmbeddingsIsConfigured) {
  config.set_pooling("last");
  StartCluster("yes");
  const Json answer = Json::parse(Ask("/v1/embeddings", "{\"input\":\"a\"}").body);
  EXPECT_EQ(answer["data"][0]["embedding"][0], 2.5);
}

}  // namespace
}  // namespace baton::router
