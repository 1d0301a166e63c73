// Nodes that refuse, break off, die or fall silent.
#include <grpcpp/support/status.h>

#include "absl/strings/str_cat.h"
#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

using NodeFailureTest = RouterFixture;

const grpc::Status kGone(grpc::StatusCode::UNAVAILABLE, "ipv4:10.1.2.3:4: connection reset");
const grpc::Status kFull(grpc::StatusCode::RESOURCE_EXHAUSTED, "no blocks");

fakes::NodeScript Failing(const grpc::Status& refuse, int failures = -1) {
  fakes::NodeScript script;
  script.token = fakes::Says("Hello");
  script.refuse = refuse;
  script.failures = failures;
  return script;
}

std::string TextOf(const RawReply& reply) {
  const Json body = Json::parse(reply.body, nullptr, false);
  if (!body.is_object() || !body.contains("choices")) return "no answer: " + reply.body;
  return body["choices"][0]["text"].get<std::string>();
}

TEST_F(NodeFailureTest, AnotherPrefillNodeTakesOverTheSameLeaseWithANewEpoch) {
  StartCluster();
  fakes::FakeNode* second = AddPrefill("p1");
  Say("Hello");
  prefill->SetScript(Failing(kGone));
  second->SetScript(Failing(grpc::Status::OK));
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(TextOf(Ask("/v1/completions", "{\"prompt\":\"x\"}")), "Hello");
  ASSERT_GE(prefill->calls(), 1);
  EXPECT_EQ(decode->calls(), 4);
  bool epoch_grew = false;
  for (const v1::PrefillRequest& request : second->prefill_requests()) {
    epoch_grew = epoch_grew || request.hand_over().ticket().epoch() == 2;
  }
  EXPECT_TRUE(epoch_grew);
  EXPECT_GE(Metric("baton_retries_total{role=\"prefill\"}"), 1);
}

TEST_F(NodeFailureTest, APrefillNodeThatDiesAfterItsFirstTokenIsReplacedWithoutARepeatedToken) {
  StartCluster();
  fakes::FakeNode* second = AddPrefill("p1");
  Say("Hello");
  fakes::NodeScript breaking;
  breaking.token = fakes::Says("Hello");
  breaking.break_off = kGone;
  breaking.failures = 1;
  prefill->SetScript(breaking);
  second->SetScript(breaking);
  // Both break off once, and the first is asked again.
  EXPECT_EQ(TextOf(Ask("/v1/completions", "{\"prompt\":\"x\"}")), "Hello");
  prefill->SetScript(breaking);
  second->SetScript(Failing(grpc::Status::OK));
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(TextOf(Ask("/v1/completions", "{\"prompt\":\"x\"}")), "Hello");
}

TEST_F(NodeFailureTest, ANodeThatIsRegisteredAndCannotBeCalledCostsAFewCallsNotTheRetryBudget) {
  StartCluster();
  AddDecode("d1");
  Say("Hello");
  decode->SetScript(Failing(kGone));
  const int requests = 3 * static_cast<int>(RetryBudget::kMax);
  for (int i = 0; i < requests; ++i) {
    ASSERT_EQ(TextOf(Ask("/v1/completions", "{\"prompt\":\"x\"}")), "Hello") << i;
  }
  EXPECT_GE(decode->calls(), NodeTrust::kFailures);
  EXPECT_LT(decode->calls(), requests / 4);
  // It is asked again, and trusted again.
  decode->SetScript(Failing(grpc::Status::OK));
  const int before = decode->calls();
  EXPECT_TRUE(Eventually([&] {
    EXPECT_EQ(TextOf(Ask("/v1/completions", "{\"prompt\":\"x\"}")), "Hello");
    return decode->calls() > before;
  }));
}

TEST_F(NodeFailureTest, APairWhoseHandOversFailIsPassedOver) {
  StartCluster();
  fakes::FakeNode* second = AddPrefill("p1");
  Say("Hello");
  prefill->SetScript(Failing(kGone));
  for (int i = 0; i < 30; ++i) {
    ASSERT_EQ(TextOf(Ask("/v1/completions", "{\"prompt\":\"x\"}")), "Hello") << i;
  }
  EXPECT_GE(prefill->calls(), NodeTrust::kFailures);
  EXPECT_LT(prefill->calls(), 10);
  EXPECT_EQ(second->calls(), 30);
}

TEST_F(NodeFailureTest, ADecodeNodeThatRefusesOrDiesBeforeAnyTokenIsReplaced) {
  StartCluster();
  AddDecode("d1");
  Say("Hello");
  // Slow enough that a decode node that dies at once is dead before the first token.
  fakes::NodeScript slow;
  slow.token = fakes::Says("Hello");
  slow.first_token_ms = 50;
  prefill->SetScript(slow);
  fakes::NodeScript dying;
  dying.die_at = 0;
  for (const fakes::NodeScript& script : {Failing(kGone), Failing(kFull), dying}) {
    decode->SetScript(script);
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(TextOf(Ask("/v1/completions", "{\"prompt\":\"x\"}")), "Hello");
    }
  }
  EXPECT_GE(decode->calls(), 3);
}

TEST_F(NodeFailureTest, WhenEveryNodeIsFullTheAnswerIs429) {
  StartCluster();
  AddDecode("d1");
  for (const auto& node : nodes) node->SetScript(Failing(kFull));
  const RawReply decode_full = Ask("/v1/completions", "{\"prompt\":\"x\"}");
  EXPECT_EQ(decode_full.status, 429) << decode_full.body;
  EXPECT_EQ(decode_full.headers.count("retry-after"), 1u);
  EXPECT_EQ(prefill->calls(), 0);
  Say("Hello");
  prefill->SetScript(Failing(kFull));
  EXPECT_EQ(Ask("/v1/completions", "{\"prompt\":\"x\",\"stream\":true}").status, 429);
  EXPECT_TRUE(Eventually([&] { return decode->running() == 0; }));
}

TEST_F(NodeFailureTest, ABatchLargerThanTheNodesHaveRoomForIsServedBitByBit) {
  StartCluster("ab");
  fakes::NodeScript crowded = Failing(kFull, 5);
  crowded.token = fakes::Says("ab");
  decode->SetScript(crowded);
  fakes::NodeScript slow;
  slow.token = fakes::Says("ab");
  slow.first_token_ms = 50;
  prefill->SetScript(slow);
  const RawReply reply =
      Ask("/v1/completions", "{\"prompt\":[\"x\",\"x\",\"x\",\"x\",\"x\",\"x\",\"x\"]}");
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(Json::parse(reply.body)["choices"].size(), 7u);
}

TEST_F(NodeFailureTest, ARequestThatANodeFindsInvalidIsNotTriedElsewhere) {
  StartCluster();
  fakes::FakeNode* second = AddPrefill("p1");
  const grpc::Status invalid(grpc::StatusCode::INVALID_ARGUMENT, "prompt: too long");
  prefill->SetScript(Failing(invalid));
  second->SetScript(Failing(invalid));
  const RawReply reply = Ask("/v1/completions", "{\"prompt\":\"x\"}");
  EXPECT_EQ(reply.status, 400);
  EXPECT_NE(reply.body.find("prompt: too long"), std::string::npos);
  EXPECT_EQ(prefill->calls() + second->calls(), 1);
}

TEST_F(NodeFailureTest, RetriesAreLimited) {
  config.set_retries(1);
  StartRouter();
  for (const char* id : {"p0", "p1", "p2", "p3"}) AddPrefill(id);
  AddDecode();
  for (const auto& node : nodes) {
    if (node->options().role == v1::NODE_ROLE_PREFILL) node->SetScript(Failing(kGone));
  }
  const RawReply reply = Ask("/v1/completions", "{\"prompt\":\"x\"}");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.body.find("10.1.2.3"), std::string::npos) << reply.body;
  int calls = 0;
  for (const auto& node : nodes) {
    if (node->options().role == v1::NODE_ROLE_PREFILL) calls += node->calls();
  }
  EXPECT_EQ(calls, 2);
}

// All text of a streamed completion; fails on an error event.
std::string StreamedText(const std::string& body) {
  std::string text;
  std::vector<std::string> events = Events(body);
  EXPECT_FALSE(events.empty());
  if (events.empty()) return text;
  EXPECT_EQ(events.back(), "[DONE]");
  events.pop_back();
  for (const std::string& event : events) {
    const Json json = Json::parse(event);
    EXPECT_FALSE(json.contains("error")) << event;
    for (const Json& choice : json.value("choices", Json::array())) {
      text += choice.value("text", "");
    }
  }
  return text;
}

TEST_F(NodeFailureTest, ADecodeNodeThatDiesInTheMiddleIsReplacedAndTheAnswerGoesOnWithoutAGap) {
  StartCluster("Hello world");
  fakes::FakeNode* second = AddDecode("d1");
  fakes::NodeScript dying;
  dying.token = fakes::Says("Hello world");
  dying.die_at = 3;
  decode->SetScript(dying);
  fakes::NodeScript healthy;
  healthy.token = fakes::Says("Hello world");
  second->SetScript(healthy);
  int resumed = 0;
  for (int i = 0; i < 6; ++i) {
    const RawReply reply = Ask("/v1/completions", "{\"prompt\":\"x\",\"stream\":true}");
    EXPECT_EQ(StreamedText(reply.body), "Hello world");
    EXPECT_EQ(TextOf(Ask("/v1/completions", "{\"prompt\":\"x\"}")), "Hello world");
  }
  for (const v1::DecodeRequest& request : second->decode_requests()) {
    if (request.first_index() == 0) continue;
    ++resumed;
    EXPECT_EQ(request.first_index(), 3);
    // The prompt's token, then "Hel" as the tiny vocabulary spells it.
    ASSERT_EQ(request.prompt_size(), 4);
    EXPECT_EQ(request.prompt(1), 3 + 'H');
    EXPECT_EQ(request.prompt(3), 3 + 'l');
  }
  EXPECT_GE(resumed, 1);
  EXPECT_EQ(resumed, static_cast<int>(Metric("baton_retries_total{role=\"decode\"}")));
  EXPECT_TRUE(Eventually([&] { return prefill->running() + decode->running() == 0; }));
}

TEST_F(NodeFailureTest, ALastTokenThatIsMissingNeedsNoDecodeNode) {
  config.set_failover_wait_ms(0);
  StartCluster("abcd");
  fakes::NodeScript dying;
  dying.token = fakes::Says("abcd");
  dying.die_at = 3;
  decode->SetScript(dying);
  const RawReply reply = Ask("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":4}");
  EXPECT_EQ(TextOf(reply), "abcd");
  EXPECT_EQ(decode->calls(), 1);
  EXPECT_EQ(prefill->prefill_requests().back().first_index(), 3);
  EXPECT_FALSE(prefill->prefill_requests().back().has_hand_over());
}

TEST_F(NodeFailureTest, AnAnswerWaitsForANodeThatComesBack) {
  StartCluster();
  fakes::NodeScript slow;
  slow.token = fakes::Says("Hello world");
  slow.token_ms = 20;
  decode->SetScript(slow);
  prefill->SetScript(slow);
  RawClient client(router->http_address());
  client.Send(Post("/v1/completions", "{\"prompt\":\"x\",\"stream\":true}"));
  client.ReadUntil("\"text\":\"e\"");
  decode->Kill();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  AddNode({.role = v1::NODE_ROLE_DECODE, .node_id = "d0", .incarnation = 2})->SetScript(slow);
  EXPECT_EQ(StreamedText(client.Read().body), "Hello world");
}

TEST_F(NodeFailureTest, ALoneNodeThatFailsOnceIsAskedAgain) {
  StartCluster();
  for (fakes::FakeNode* node : {prefill, decode}) {
    // One token needs no decode node, several need both.
    for (const int max_tokens : {1, 5}) {
      if (node == decode && max_tokens == 1) continue;
      const int before = node->calls();
      node->SetScript(Failing(kGone, /*failures=*/1));
      const RawReply reply = Ask(
          "/v1/completions", absl::StrCat("{\"prompt\":\"x\",\"max_tokens\":", max_tokens, "}"));
      EXPECT_EQ(reply.status, 200) << reply.body;
      EXPECT_EQ(TextOf(reply), std::string("Hello").substr(0, max_tokens));
      EXPECT_EQ(node->calls() - before, 2);
    }
  }
}

TEST_F(NodeFailureTest, WithoutAnotherNodeTheStreamEndsOnceWithAnErrorEvent) {
  config.set_failover_wait_ms(200);
  StartCluster();
  fakes::NodeScript slow;
  slow.token_ms = 20;
  decode->SetScript(slow);
  RawClient client(router->http_address());
  client.Send(Post("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":400,\"stream\":true}"));
  client.ReadUntil("\"text\":\"a\"");
  decode->Kill();
  const std::vector<std::string> events = Events(client.Read().body);
  ASSERT_GE(events.size(), 2u);
  EXPECT_EQ(events.back(), "[DONE]");
  const Json error = Json::parse(events[events.size() - 2])["error"];
  EXPECT_TRUE(error["message"].is_string());
  EXPECT_EQ(error["message"].get<std::string>().find("127.0.0.1"), std::string::npos);
}

TEST_F(NodeFailureTest, ANodeThatBreaksOffAgainAndAgainIsNotTriedForEver) {
  config.set_failover_wait_ms(300);
  StartCluster("Hello world");
  fakes::NodeScript broken;
  broken.refuse = kGone;
  fakes::NodeScript dying;
  dying.token = fakes::Says("Hello world");
  dying.die_at = 3;
  decode->SetScript(dying);
  RawClient client(router->http_address());
  client.Send(Post("/v1/completions", "{\"prompt\":\"x\"}"));
  ASSERT_TRUE(Eventually([&] { return prefill->calls() >= 1; }));
  prefill->SetScript(broken);
  EXPECT_EQ(client.Read().status, 503);
  EXPECT_LE(decode->calls(), 8);  // with pauses of 50 ms and more
}

TEST_F(NodeFailureTest, ASilentNodeLosesItsCallsAndReadiness) {
  config.set_node_timeout_ms(400);
  config.set_failover_wait_ms(100);
  StartCluster();
  fakes::NodeScript stuck;
  stuck.never_leases = true;
  decode->SetScript(stuck);
  RawClient client(router->http_address());
  client.Send(Post("/v1/completions", "{\"prompt\":\"x\"}"));
  ASSERT_TRUE(Eventually([&] { return decode->running() == 1; }));
  decode->FallSilent();
  EXPECT_EQ(client.Read().status, 503);
  EXPECT_EQ(Fetch("/ready").status, 503);
  EXPECT_EQ(Metric("baton_nodes{role=\"decode\"}"), 0);
}

TEST_F(NodeFailureTest, ARequestHasADeadline) {
  config.set_request_timeout_ms(1000);
  StartCluster();
  fakes::NodeScript stuck;
  stuck.first_token_ms = 60000;
  prefill->SetScript(stuck);
  const RawReply reply = Ask("/v1/completions", "{\"prompt\":\"x\"}");
  EXPECT_EQ(reply.status, 504) << reply.body;
  EXPECT_TRUE(Eventually([&] { return prefill->running() == 0 && decode->running() == 0; }));
}

TEST_F(NodeFailureTest, LeasesOfWaitingRequestsAreRenewedTogether) {
  config.set_renew_interval_ms(100);
  StartCluster();
  fakes::NodeScript slow;
  slow.first_token_ms = 600;
  prefill->SetScript(slow);
  EXPECT_EQ(Ask("/v1/completions", "{\"prompt\":[\"a\",\"b\"],\"max_tokens\":3}").status, 200);
  const int renewed = decode->renewed();
  EXPECT_GE(renewed, 4);
  // Committed leases are not renewed any more.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LE(decode->renewed(), renewed + 2);
}

TEST_F(NodeFailureTest, ADrainingNodeGetsNoNewWork) {
  StartCluster();
  fakes::FakeNode* second = AddDecode("d1");
  Say("Hello");
  decode->SetDraining(true);
  ASSERT_TRUE(Eventually([&] {
    for (const auto& node : router->context().cluster.snapshot()->decode) {
      if (node->hello.node_id() == "d0" && node->load.draining()) return true;
    }
    return false;
  }));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(Ask("/v1/completions", "{\"prompt\":\"x\"}").status, 200);
  EXPECT_EQ(decode->calls(), 0);
  EXPECT_EQ(second->calls(), 4);
}

TEST_F(NodeFailureTest, WorkIsSharedOutOverEqualNodes) {
  StartCluster();
  fakes::FakeNode* p1 = AddPrefill("p1");
  fakes::FakeNode* d1 = AddDecode("d1");
  Say("Hello");
  for (int i = 0; i < 8; ++i) EXPECT_EQ(Ask("/v1/completions", "{\"prompt\":\"x\"}").status, 200);
  EXPECT_GT(prefill->calls(), 0);
  EXPECT_GT(p1->calls(), 0);
  EXPECT_GT(decode->calls(), 0);
  EXPECT_GT(d1->calls(), 0);
}

}  // namespace
}  // namespace baton::router
