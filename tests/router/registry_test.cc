// Nodes that come, go, differ and come back, over a real stream.
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "absl/strings/str_format.h"
#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

using RegistryTest = RouterFixture;

TEST_F(RegistryTest, ANodeThatLeavesIsGoneAtOnce) {
  StartCluster();
  EXPECT_EQ(Fetch("/ready").status, 200);
  prefill->Leave();
  EXPECT_TRUE(Eventually([&] { return Fetch("/ready").status == 503; }));
  EXPECT_EQ(Metric("baton_nodes{role=\"prefill\"}"), 0);
  EXPECT_EQ(Metric("baton_node_up{node=\"p0\",role=\"prefill\"}"), 0);
}

TEST_F(RegistryTest, ANodeThatFallsSilentIsGoneWithinTwoSeconds) {
  StartCluster();
  const auto begin = std::chrono::steady_clock::now();
  decode->FallSilent();
  ASSERT_TRUE(Eventually([&] { return Fetch("/ready").status == 503; }));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}

TEST_F(RegistryTest, ANodeOfAnotherModelThanTheRoutersIsRefusedWithBothFingerprints) {
  StartRouter();  // no node is there to compare with
  fakes::FakeNode other({.role = v1::NODE_ROLE_DECODE, .node_id = "d9", .fingerprint = 78}, wire);
  other.Join(router->cluster_address());
  ASSERT_TRUE(Eventually([&] { return !other.join_status().ok(); }));
  EXPECT_EQ(other.join_status().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  const std::string expected =
      absl::StrFormat("has 000000000000004e, the router's model has %016x", TinyModelFingerprint());
  EXPECT_NE(other.join_status().error_message().find(expected), std::string::npos)
      << other.join_status().error_message();
  EXPECT_FALSE(other.accepted());
}

TEST_F(RegistryTest, ARestartedNodeReplacesItsPredecessor) {
  StartCluster();
  fakes::FakeNode* second =
      AddNode({.role = v1::NODE_ROLE_DECODE, .node_id = "d0", .incarnation = 2});
  fakes::NodeScript script;
  script.token = fakes::Says("new");
  second->SetScript(script);
  prefill->SetScript(script);
  EXPECT_EQ(Metric("baton_nodes{role=\"decode\"}"), 1);
  const Json answer = Json::parse(Ask("/v1/completions", "{\"prompt\":\"x\"}").body);
  EXPECT_EQ(answer["choices"][0]["text"], "new");
  EXPECT_EQ(decode->calls(), 0);
  // The old stream is told at its next report, and its end takes nothing away.
  ASSERT_TRUE(Eventually([&] { return !decode->join_status().ok(); }));
  EXPECT_EQ(Fetch("/ready").status, 200);
}

TEST_F(RegistryTest, AStreamMustBeginWithAHello) {
  StartRouter();
  auto stub = v1::Registry::NewStub(
      grpc::CreateChannel(router->cluster_address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  auto stream = stub->Join(&context);
  v1::NodeReport report;
  report.mutable_load()->set_blocks_total(1);
  stream->Write(report);
  v1::RouterReply reply;
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace baton::router
