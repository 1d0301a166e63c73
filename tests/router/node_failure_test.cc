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
  // Both break off once: whichever is first, the answer is whole.
  EXPECT_EQ(TextOf(Ask("/v1/completions", "{\"prompt\":\"x\"}")).substr(0, 9), "no answer");
  prefill->SetScript(breaking);
  second->SetScript(Failing(grpc::Status::OK));
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(TextOf(Ask("/v1/completions", "{\"prompt\":\"x\"}")), "Hello");
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

TEST_F(NodeFailureTest, ADeathAfterTokensWereSentIsAnErrorEventAndTheStreamEndsOnce) {
  StartCluster("Hello world");
  fakes::NodeScript dying;
  dying.token = fakes::Says("Hello world");
  dying.die_at = 3;
  decode->SetScript(dying);
  const std::vector<std::string> events =
      Events(Ask("/v1/completions", "{\"prompt\":\"x\",\"stream\":true}").body);
  ASSERT_EQ(events.size(), 5u);
  const Json error = Json::parse(events[3])["error"];
  EXPECT_TRUE(error["message"].is_string());
  EXPECT_EQ(error["message"].get<std::string>().find("10.0.0.1"), std::string::npos);
  EXPECT_EQ(events[4], "[DONE]");
  // The same in one piece is an error status.
  EXPECT_EQ(Ask("/v1/completions", "{\"prompt\":\"x\"}").status, 503);
}

TEST_F(NodeFailureTest, AKilledDecodeNodeEndsItsStreamsAndIsSoonGone) {
  StartCluster();
  fakes::NodeScript slow;
  slow.token_ms = 20;
  decode->SetScript(slow);
  RawClient client(router->http_address());
  client.Send(Post("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":400,\"stream\":true}"));
  client.ReadUntil("\"text\":\"a\"");
  decode->Kill();
  const std::string body = client.Read().body;
  EXPECT_NE(body.find("\"error\""), std::string::npos);
  EXPECT_EQ(body.substr(body.size() - 14), "data: [DONE]\n\n");
}

TEST_F(NodeFailureTest, ASilentNodeLosesItsCallsAndReadiness) {
  config.set_node_timeout_ms(400);
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
