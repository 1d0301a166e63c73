// The routes, and errors in OpenAI's shape, over real sockets.
#include "router/http_api.h"

#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

using HttpApiTest = RouterFixture;

Json ErrorOf(const RawReply& reply) {
  const Json body = Json::parse(reply.body, nullptr, false);
  EXPECT_TRUE(body.is_object() && body.contains("error")) << reply.body;
  for (const char* key : {"message", "type", "param", "code"}) {
    EXPECT_TRUE(body["error"].contains(key)) << reply.body;
  }
  return body["error"];
}

TEST_F(HttpApiTest, ReadinessSaysWhatIsMissingAndHealthDoesNotCare) {
  StartRouter();
  EXPECT_EQ(Fetch("/health").status, 200);
  EXPECT_EQ(Fetch("/ready").status, 503);
  AddPrefill();
  const RawReply reply = Fetch("/ready");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(ErrorOf(reply)["message"], "No decode node is ready.");
  AddDecode();
  EXPECT_EQ(Fetch("/ready").status, 200);
}

TEST_F(HttpApiTest, GenerationWithoutNodesIs503WithRetryAfter) {
  StartRouter();
  const RawReply reply = Ask("/v1/completions", "{\"prompt\":\"x\"}");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.headers.at("retry-after"), "1");
  ErrorOf(reply);
}

TEST_F(HttpApiTest, ModelsAreListedWithRootAndLength) {
  StartCluster();
  const Json list = Json::parse(Fetch("/v1/models").body);
  EXPECT_EQ(list["object"], "list");
  const Json& model = list["data"][0];
  EXPECT_EQ(model["id"], "tiny");
  EXPECT_EQ(model["object"], "model");
  EXPECT_EQ(model["root"], "tiny.gguf");
  EXPECT_EQ(model["max_model_len"], 512);
  EXPECT_TRUE(model["created"].is_number());
  EXPECT_TRUE(model["owned_by"].is_string());
  EXPECT_TRUE(model["parent"].is_null());
  EXPECT_EQ(model["permission"][0]["object"], "model_permission");
  EXPECT_EQ(Json::parse(Fetch("/v1/models/tiny?x=1").body), model);
  const RawReply unknown = Fetch("/v1/models/other");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(ErrorOf(unknown)["code"], "model_not_found");
}

TEST_F(HttpApiTest, UnknownModelsAndRoutesAre404AndWrongMethods405) {
  StartCluster();
  const RawReply model = Ask("/v1/completions", "{\"model\":\"other\",\"prompt\":\"x\"}");
  EXPECT_EQ(model.status, 404);
  EXPECT_EQ(ErrorOf(model)["code"], "model_not_found");
  EXPECT_EQ(ErrorOf(model)["param"], "model");
  const RawReply route = Fetch("/v1/nothing");
  EXPECT_EQ(route.status, 404);
  ErrorOf(route);
  const RawReply get = Fetch("/v1/chat/completions");
  EXPECT_EQ(get.status, 405);
  EXPECT_EQ(get.headers.at("allow"), "POST");
  const RawReply post = Ask("/health", "{}");
  EXPECT_EQ(post.status, 405);
  EXPECT_EQ(post.headers.at("allow"), "GET, HEAD");
}

TEST_F(HttpApiTest, OnlyJsonBodiesAreRead) {
  StartCluster();
  RawClient client(router->http_address());
  client.Send(
      "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: text/plain\r\n"
      "Content-Length: 14\r\n\r\n{\"prompt\":\"x\"}");
  EXPECT_EQ(client.Read().status, 415);
  // The connection is still good, and the charset of a JSON body does not matter.
  client.Send(
      "POST /v1/completions HTTP/1.1\r\nHost: t\r\n"
      "Content-Type: Application/JSON; charset=utf-8\r\n"
      "Content-Length: 14\r\n\r\n{\"prompt\":\"x\"}");
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(HttpApiTest, TokenizeAndDetokenizeInvertEachOtherInBothDialects) {
  StartCluster();
  const Json tokens = Json::parse(Ask("/tokenize", "{\"prompt\":\"Hi \xC3\xA9\"}").body);
  EXPECT_EQ(tokens["max_model_len"], 512);
  EXPECT_EQ(tokens["count"], tokens["tokens"].size());
  const Json text = Json::parse(Ask("/detokenize", Json{{"tokens", tokens["tokens"]}}.dump()).body);
  EXPECT_EQ(text["prompt"], "Hi \xC3\xA9");
  EXPECT_EQ(text["content"], "Hi \xC3\xA9");
  EXPECT_EQ(Json::parse(Ask("/tokenize", "{\"content\":\"Hi \xC3\xA9\"}").body)["tokens"],
            tokens["tokens"]);
  const Json chat =
      Json::parse(Ask("/tokenize", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}").body);
  EXPECT_EQ(chat["tokens"][0], 1);  // <|im_start|>
  EXPECT_EQ(Json::parse(Ask("/tokenize", "{\"prompt\":\"\"}").body)["count"], 0);
  EXPECT_EQ(ErrorOf(Ask("/tokenize", "{}"))["param"], "prompt");
  EXPECT_EQ(ErrorOf(Ask("/tokenize", "{\"prompt\":1}"))["param"], "prompt");
  EXPECT_EQ(ErrorOf(Ask("/detokenize", "{\"tokens\":[5000]}"))["param"], "tokens");
  EXPECT_EQ(ErrorOf(Ask("/detokenize", "{}"))["param"], "tokens");
}

TEST_F(HttpApiTest, APromptBeyondTheContextIsRefusedBeforeANodeHearsOfIt) {
  StartCluster();
  std::string ids = "5";
  for (int i = 1; i < 512; ++i) ids += ",5";
  const RawReply reply = Ask("/v1/completions", "{\"prompt\":[" + ids + "]}");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(ErrorOf(reply)["code"], "context_length_exceeded");
  EXPECT_EQ(ErrorOf(reply)["param"], "prompt");
  EXPECT_EQ(decode->calls(), 0);
  EXPECT_EQ(prefill->calls(), 0);
  // One token less leaves room for an answer of one.
  const RawReply fits = Ask("/v1/completions", "{\"prompt\":[" + ids.substr(2) + "]}");
  EXPECT_EQ(fits.status, 200) << fits.body;
  EXPECT_EQ(Json::parse(fits.body)["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(Json::parse(fits.body)["usage"]["completion_tokens"], 1);
}

TEST_F(HttpApiTest, EmptyPromptsAndBadBodiesAre400) {
  StartCluster();
  EXPECT_EQ(ErrorOf(Ask("/v1/completions", "{\"prompt\":\"\"}"))["param"], "prompt");
  EXPECT_EQ(Ask("/v1/completions", "{\"prompt\":").status, 400);
  EXPECT_EQ(Ask("/v1/chat/completions", "[]").status, 400);
  EXPECT_EQ(ErrorOf(Ask("/v1/chat/completions", "{}"))["param"], "messages");
  EXPECT_EQ(prefill->calls(), 0);
}

TEST_F(HttpApiTest, RequestIdsAreEchoedWhenTheyAreFitAndMintedOtherwise) {
  StartCluster();
  EXPECT_EQ(Ask("/v1/completions", "{\"prompt\":\"x\"}", "X-Request-Id: my-1\r\n")
                .headers.at("x-request-id"),
            "my-1");
  const std::string minted =
      Ask("/v1/completions", "{\"prompt\":\"x\"}", "X-Request-Id: not <fit>\r\n")
          .headers.at("x-request-id");
  EXPECT_EQ(minted.rfind("req-", 0), 0u);
  EXPECT_NE(minted, Fetch("/health").headers.at("x-request-id"));
}

TEST_F(HttpApiTest, MetricsShowTheBlocksOfEveryNode) {
  StartCluster();
  EXPECT_EQ(Ask("/v1/completions", "{\"prompt\":\"x\"}").status, 200);
  EXPECT_EQ(Metric("baton_node_kv_blocks{node=\"d0\",role=\"decode\",state=\"free\"}"), 64);
  EXPECT_EQ(Metric("baton_node_kv_blocks{node=\"p0\",role=\"prefill\",state=\"leased\"}"), 0);
  EXPECT_EQ(Metric("baton_node_up{node=\"p0\",role=\"prefill\"}"), 1);
  EXPECT_EQ(Metric("baton_requests_total{outcome=\"stop\"}"), 1);
  EXPECT_EQ(Metric("vllm:generation_tokens_total{model_name=\"tiny\",engine=\"0\"}"), 6);
  EXPECT_EQ(Metric("baton_time_to_second_token_seconds_count"), 1);
  EXPECT_EQ(Metric("baton_sequences_running"), 0);
  EXPECT_EQ(Metric("baton_sequences_waiting"), 0);
}

TEST_F(HttpApiTest, WhenTheServerIsFullTheNextRequestIs429WithRetryAfter) {
  config.set_max_running(1);
  config.mutable_admission()->set_max_waiting(0);
  StartCluster();
  fakes::NodeScript slow;
  slow.first_token_ms = 2000;
  prefill->SetScript(slow);
  RawClient first(router->http_address());
  first.Send(Post("/v1/completions", "{\"prompt\":\"x\"}"));
  ASSERT_TRUE(Eventually([&] { return prefill->running() == 1; }));
  const RawReply refused = Ask("/v1/completions", "{\"prompt\":\"x\"}");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_GT(std::atoi(refused.headers.at("retry-after-ms").c_str()), 0);
  ErrorOf(refused);
  EXPECT_EQ(Fetch("/health").status, 200);
  first.Close();
  prefill->SetScript({});
  EXPECT_TRUE(
      Eventually([&] { return Ask("/v1/completions", "{\"prompt\":\"x\"}").status == 200; }));
}

TEST_F(HttpApiTest, ARequestThatOutlivesTheDrainIsToldOfItsEnd) {
  StartCluster();
  fakes::NodeScript script;
  script.token_ms = 20;
  decode->SetScript(script);
  RawClient running(router->http_address());
  running.Send(Post("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":400,\"stream\":true}"));
  running.ReadUntil("\"text\":\"a\"");
  router->StartDraining();
  EXPECT_TRUE(router->Stop());
  const std::vector<std::string> events = Events(running.Read().body);
  ASSERT_GE(events.size(), 3u);
  EXPECT_NE(events[events.size() - 2].find("\"error\""), std::string::npos);
  EXPECT_EQ(events.back(), "[DONE]");
}

TEST_F(HttpApiTest, WhileDrainingNewRequestsAre503AndRunningOnesFinish) {
  StartCluster("Hello");
  fakes::NodeScript script;
  script.token = fakes::Says("Hello");
  script.token_ms = 50;
  decode->SetScript(script);
  RawClient running(router->http_address());
  running.Send(Post("/v1/completions", "{\"prompt\":\"x\",\"stream\":true}"));
  running.ReadUntil("\"H\"");
  router->StartDraining();
  EXPECT_FALSE(router->idle());
  const RawReply refused = Ask("/v1/completions", "{\"prompt\":\"x\"}");
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.at("connection"), "close");
  EXPECT_EQ(Fetch("/ready").status, 503);
  EXPECT_EQ(Fetch("/health").status, 200);
  EXPECT_NE(running.Read().body.find("[DONE]"), std::string::npos);
  EXPECT_TRUE(Eventually([&] { return router->idle(); }));
}

}  // namespace
}  // namespace baton::router
