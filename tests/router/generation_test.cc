// Answers end to end: streams, stop strings, several answers, batches, clients that leave or do not
// read.
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

using GenerationTest = RouterFixture;

// The text of choice `index` in a stream of completions.
std::string StreamText(const std::vector<std::string>& events, int index = 0) {
  std::string text;
  for (const std::string& event : events) {
    const Json chunk = Json::parse(event, nullptr, false);
    if (chunk.is_discarded() || !chunk.contains("choices")) continue;
    for (const Json& choice : chunk["choices"]) {
      if (choice["index"] != index) continue;
      text += choice.contains("text") ? choice["text"].get<std::string>()
                                      : choice["delta"]["content"].get<std::string>();
    }
  }
  return text;
}

TEST_F(GenerationTest, AChatIsStreamedTokenByTokenAndEndsOnce) {
  StartCluster("Hi \xC3\xA9!");
  const RawReply reply = Ask(
      "/v1/chat/completions",
      "{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stream\":true,"
      "\"stream_options\":{\"include_usage\":true}}");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("content-type"), "text/event-stream; charset=utf-8");
  const std::vector<std::string> events = Events(reply.body);
  // 6 bytes, one token each, the end token, usage, [DONE].
  ASSERT_EQ(events.size(), 9u) << reply.body;
  EXPECT_EQ(StreamText(events), "Hi \xC3\xA9!");
  const Json first = Json::parse(events[0]);
  EXPECT_EQ(first["object"], "chat.completion.chunk");
  EXPECT_EQ(first["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(first["choices"][0]["delta"]["content"], "H");
  EXPECT_FALSE(Json::parse(events[1])["choices"][0]["delta"].contains("role"));
  EXPECT_EQ(Json::parse(events[6])["choices"][0]["finish_reason"], "stop");
  const Json usage = Json::parse(events[7]);
  EXPECT_EQ(usage["choices"].size(), 0u);
  EXPECT_EQ(usage["usage"]["completion_tokens"], 7);
  EXPECT_EQ(usage["id"], first["id"]);
  EXPECT_EQ(events[8], "[DONE]");
}

TEST_F(GenerationTest, AnAnswerInOnePieceHasTextReasonAndUsage) {
  StartCluster("Hello");
  const Json answer =
      Json::parse(Ask("/v1/completions", "{\"prompt\":[5,6,7],\"max_tokens\":3}").body);
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_EQ(answer["model"], "tiny");
  EXPECT_EQ(answer["choices"][0]["text"], "Hel");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 3);
  EXPECT_EQ(answer["usage"]["total_tokens"], 6);
  EXPECT_EQ(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
}

TEST_F(GenerationTest, TheNodesGetWhatTheClientAskedFor) {
  StartCluster();
  Ask("/v1/completions",
      "{\"prompt\":[5,6],\"max_tokens\":4,\"temperature\":0.5,\"top_p\":0.9,\"top_k\":3,"
      "\"min_p\":0.1,\"seed\":42,\"frequency_penalty\":1,\"presence_penalty\":-1,"
      "\"repetition_penalty\":1.5,\"ignore_eos\":true,\"min_tokens\":2,\"stop_token_ids\":[9],"
      "\"logit_bias\":{\"7\":-5}}",
      "X-Request-Id: r1\r\n");
  ASSERT_EQ(prefill->prefill_requests().size(), 1u);
  ASSERT_EQ(decode->decode_requests().size(), 1u);
  const v1::PrefillRequest run = prefill->prefill_requests()[0];
  const v1::DecodeRequest generate = decode->decode_requests()[0];
  EXPECT_EQ(run.sampling().SerializeAsString(), generate.sampling().SerializeAsString());
  EXPECT_EQ(run.stop().SerializeAsString(), generate.stop().SerializeAsString());
  EXPECT_EQ(run.request_id(), "r1");
  EXPECT_EQ(run.sampling().seed(), 42u);
  EXPECT_EQ(run.sampling().temperature(), 0.5);
  EXPECT_EQ(run.sampling().logit_bias().at(7), -5);
  EXPECT_EQ(run.stop().max_tokens(), 4);
  EXPECT_EQ(run.stop().min_tokens(), 2);
  EXPECT_TRUE(run.stop().ignore_eos());
  EXPECT_EQ(run.hand_over().ticket().id().size(), 16u);
  EXPECT_EQ(run.hand_over().ticket().epoch(), 1u);
  EXPECT_EQ(run.hand_over().ticket().id(), generate.ticket().id());
  EXPECT_EQ(run.hand_over().decode_incarnation(), decode->options().incarnation);
  EXPECT_EQ(generate.layout().model_fingerprint(), TinyModelFingerprint());
}

TEST_F(GenerationTest, AnAnswerOfOneTokenNeedsNoDecodeNode) {
  StartCluster();
  const Json answer =
      Json::parse(Ask("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":1}").body);
  EXPECT_EQ(answer["choices"][0]["text"], "H");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(decode->calls(), 0);
  EXPECT_FALSE(prefill->prefill_requests()[0].has_hand_over());
}

TEST_F(GenerationTest, AFirstTokenThatEndsCancelsTheDecodeCall) {
  StartCluster("");
  const Json answer = Json::parse(Ask("/v1/completions", "{\"prompt\":\"x\"}").body);
  EXPECT_EQ(answer["choices"][0]["text"], "");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["usage"]["completion_tokens"], 1);
  EXPECT_TRUE(Eventually([&] { return decode->running() == 0; }));
  EXPECT_EQ(decode->cancelled(), 1);
}

TEST_F(GenerationTest, StopStringsMaySpanTokensAndAreNeverShown) {
  StartCluster("one END two");
  for (const bool stream : {false, true}) {
    const RawReply reply =
        Ask("/v1/completions",
            absl::StrCat("{\"prompt\":\"x\",\"max_tokens\":50,\"stop\":[\"END\",\"?\"],"
                         "\"logprobs\":0,\"stream\":",
                         stream ? "true" : "false", "}"));
    for (const char* hidden : {"\"E\"", "\"N\"", "\"D\"", "EN\""}) {
      EXPECT_EQ(reply.body.find(hidden), std::string::npos) << reply.body;
    }
    if (stream) {
      const std::vector<std::string> events = Events(reply.body);
      EXPECT_EQ(StreamText(events), "one ");
      const Json last = Json::parse(events[events.size() - 2]);
      EXPECT_EQ(last["choices"][0]["finish_reason"], "stop");
      EXPECT_EQ(last["choices"][0]["stop_reason"], "END");
    } else {
      const Json choice = Json::parse(reply.body)["choices"][0];
      EXPECT_EQ(choice["text"], "one ");
      EXPECT_EQ(choice["stop_reason"], "END");
      EXPECT_EQ(choice["logprobs"]["tokens"].size(), 4u);
    }
    EXPECT_TRUE(Eventually([&] { return decode->running() == 0; }));
  }
}

TEST_F(GenerationTest, AStopTokenEndsWithoutItsText) {
  StartCluster("abc");
  const Json choice = Json::parse(
      Ask("/v1/completions", absl::StrCat("{\"prompt\":\"x\",\"stop_token_ids\":[", 3 + 'b', "]}"))
          .body)["choices"][0];
  EXPECT_EQ(choice["text"], "a");
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(choice["stop_reason"], 3 + 'b');
}

TEST_F(GenerationTest, SeveralAnswersHaveSeedsInARowAndOneUsage) {
  StartCluster();
  fakes::NodeScript script;
  script.token = [](const std::vector<int32_t>&, uint64_t seed, int32_t) {
    return 3 + 'a' + static_cast<int32_t>(seed % 26);
  };
  prefill->SetScript(script);
  decode->SetScript(script);
  const std::string fields = "\"prompt\":[5,6],\"n\":3,\"seed\":26,\"max_tokens\":4";
  const Json answer = Json::parse(Ask("/v1/completions", "{" + fields + "}").body);
  ASSERT_EQ(answer["choices"].size(), 3u);
  EXPECT_EQ(answer["choices"][0]["text"], "aaaa");
  EXPECT_EQ(answer["choices"][1]["text"], "bbbb");
  EXPECT_EQ(answer["choices"][2]["text"], "cccc");
  EXPECT_EQ(answer["choices"][2]["index"], 2);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 2);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 12);
  const std::vector<std::string> events =
      Events(Ask("/v1/completions", "{" + fields + ",\"stream\":true}").body);
  EXPECT_EQ(StreamText(events, 0), "aaaa");
  EXPECT_EQ(StreamText(events, 2), "cccc");
  EXPECT_EQ(events.size(), 13u);
}

TEST_F(GenerationTest, ABatchOfPromptsHasOneChoicePerPromptAndAnswer) {
  StartCluster();
  fakes::NodeScript script;
  script.token = [](const std::vector<int32_t>& prompt, uint64_t, int32_t) { return prompt[0]; };
  prefill->SetScript(script);
  decode->SetScript(script);
  const Json answer =
      Json::parse(Ask("/v1/completions", absl::StrCat("{\"prompt\":[[", 3 + 'p', ",9],[", 3 + 'q',
                                                      "]],\"n\":2,\"max_tokens\":2,\"echo\":true}"))
                      .body);
  ASSERT_EQ(answer["choices"].size(), 4u);
  EXPECT_EQ(answer["choices"][1]["text"], "p\x06pp");
  EXPECT_EQ(answer["choices"][2]["text"], "qqq");
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 8);
}

TEST_F(GenerationTest, MoreSequencesThanRunAtOnceAllComeToTheirEnd) {
  StartCluster("ab");
  std::string prompts = "\"x\"";
  for (int i = 1; i < 100; ++i) prompts += ",\"x\"";
  const Json answer = Json::parse(Ask("/v1/completions", "{\"prompt\":[" + prompts + "]}").body);
  ASSERT_EQ(answer["choices"].size(), 100u);
  for (const Json& choice : answer["choices"]) EXPECT_EQ(choice["text"], "ab");
}

TEST_F(GenerationTest, LogprobsComeWithTheirTokens) {
  StartCluster("ab");
  const Json chat =
      Json::parse(Ask("/v1/chat/completions",
                      "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"logprobs\":true,"
                      "\"top_logprobs\":2}")
                      .body);
  const Json& content = chat["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3u);  // the end token included, as usage counts it
  EXPECT_EQ(content[0]["token"], "a");
  EXPECT_EQ(content[0]["top_logprobs"].size(), 2u);
}

TEST_F(GenerationTest, AClientThatLeavesAStreamFreesBothNodes) {
  StartCluster();
  fakes::NodeScript script;
  script.token_ms = 20;
  decode->SetScript(script);
  RawClient client(router->http_address());
  client.Send(Post("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":500,\"stream\":true}"));
  client.ReadUntil("\"text\":\"a\"");
  client.Close();
  EXPECT_TRUE(Eventually([&] { return decode->running() == 0 && decode->cancelled() == 1; }));
  EXPECT_TRUE(Eventually([&] { return router->idle(); }));
  EXPECT_EQ(Metric("baton_requests_total{outcome=\"abort\"}"), 1);
  EXPECT_EQ(Metric("baton_sequences_running"), 0);
}

TEST_F(GenerationTest, AClientThatLeavesWhileItWaitsFreesBothNodes) {
  StartCluster();
  fakes::NodeScript script;
  script.first_token_ms = 10000;
  prefill->SetScript(script);
  for (const bool stream : {false, true}) {
    const int before = prefill->cancelled();
    RawClient client(router->http_address());
    client.Send(Post("/v1/completions", absl::StrCat("{\"prompt\":\"x\",\"stream\":",
                                                     stream ? "true" : "false", "}")));
    ASSERT_TRUE(Eventually([&] { return prefill->running() == 1 && decode->running() == 1; }));
    client.Close();
    EXPECT_TRUE(Eventually([&] { return prefill->running() == 0 && decode->running() == 0; }));
    EXPECT_EQ(prefill->cancelled(), before + 1);
  }
  EXPECT_TRUE(Eventually([&] { return router->idle(); }));
  EXPECT_EQ(Metric("baton_sequences_waiting"), 0);
}

TEST_F(GenerationTest, AClientThatDoesNotReadIsCutOff) {
  limits.outbox_bytes = 100 * 1024;
  limits.write_timeout = std::chrono::milliseconds(2000);
  StartRouter();
  prefill = AddNode({.role = v1::NODE_ROLE_PREFILL, .node_id = "p", .context_length = 200000});
  decode = AddNode({.role = v1::NODE_ROLE_DECODE,
                    .node_id = "d",
                    .context_length = 200000,
                    .blocks_total = 10000});
  RawClient client(router->http_address());
  client.SetReceiveBuffer(4096);
  client.Send(Post("/v1/completions",
                   "{\"prompt\":\"x\",\"max_tokens\":190000,\"ignore_eos\":true,\"stream\":true}"));
  ASSERT_TRUE(Eventually([&] { return decode->running() == 1; }));
  EXPECT_TRUE(Eventually([&] { return decode->running() == 0; }));
  EXPECT_EQ(decode->cancelled(), 1);
  EXPECT_TRUE(Eventually([&] { return router->idle(); }));
}

TEST_F(GenerationTest, ManyClientsWithOneRequestIdGetTheirOwnAnswers) {
  StartCluster();
  fakes::NodeScript script;
  script.token = [](const std::vector<int32_t>& prompt, uint64_t, int32_t) { return prompt[0]; };
  script.token_ms = 2;
  prefill->SetScript(script);
  decode->SetScript(script);
  std::vector<std::thread> clients;
  std::vector<std::string> texts(8);
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] {
      const std::string body =
          absl::StrCat("{\"prompt\":[", 3 + 'a' + i, "],\"max_tokens\":20,\"stream\":true}");
      texts[i] = StreamText(Events(Ask("/v1/completions", body, "X-Request-Id: same\r\n").body));
    });
  }
  for (std::thread& client : clients) client.join();
  for (int i = 0; i < 8; ++i) EXPECT_EQ(texts[i], std::string(20, static_cast<char>('a' + i)));
}

TEST_F(GenerationTest, TheRouterAddsLessThanAMillisecondAtTheMedian) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers change the times";
#endif
  StartCluster();
  fakes::NodeScript script;
  script.token_ms = 2;
  decode->SetScript(script);
  // Another program may hold the CPU for a round of requests, but not for five in a row.
  for (const char* name : {"baton_router_relay_seconds", "baton_router_dispatch_seconds"}) {
    const std::string fast = absl::StrCat(name, "_bucket{le=\"0.001\"}");
    const std::string all = absl::StrCat(name, "_count");
    double share = 0;
    for (int round = 0; round < 5 && share < 0.5; ++round) {
      const double fast_before = Metric(fast), all_before = Metric(all);
      for (int i = 0; i < 20; ++i) {
        Ask("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":20,\"stream\":true}");
      }
      ASSERT_GT(Metric(all), all_before) << name;
      share = (Metric(fast) - fast_before) / (Metric(all) - all_before);
    }
    EXPECT_GE(share, 0.5) << name;
  }
}

TEST_F(GenerationTest, SeedsAreDrawnWhereNoneIsGivenAndTicketsAreNeverUsedTwice) {
  StartCluster();
  for (int i = 0; i < 5; ++i) Ask("/v1/completions", "{\"prompt\":\"x\",\"n\":2}");
  std::set<uint64_t> seeds;
  std::set<std::string> tickets;
  for (const v1::DecodeRequest& request : decode->decode_requests()) {
    seeds.insert(request.sampling().seed());
    tickets.insert(request.ticket().id());
  }
  EXPECT_EQ(seeds.size(), 10u);
  EXPECT_EQ(tickets.size(), 10u);
}

}  // namespace
}  // namespace baton::router
