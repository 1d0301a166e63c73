#include "router/cluster_view.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

namespace baton::router {
namespace {

v1::NodeHello Hello(const std::string& id, v1::NodeRole role, uint64_t incarnation = 1) {
  v1::NodeHello hello;
  hello.set_node_id(id);
  hello.set_role(role);
  hello.set_address("127.0.0.1:1");
  hello.set_incarnation(incarnation);
  hello.set_context_length(100);
  hello.set_version("1");
  v1::KvLayout* layout = hello.mutable_layout();
  layout->set_version(1);
  layout->set_layers(2);
  layout->set_kv_heads(2);
  layout->set_head_dim(16);
  layout->set_block_tokens(32);
  layout->set_dtype("f16");
  layout->set_model_fingerprint(7);
  return hello;
}

class ClusterViewTest : public ::testing::Test {
 protected:
  ClusterViewTest()
      : view_(absl::Milliseconds(1000), clock_, caches_, [this](const v1::NodeHello& hello) {
          return std::make_shared<NodeClient>(
              grpc::CreateChannel(hello.address(), grpc::InsecureChannelCredentials()), &calls_);
        }) {}

  OpenCalls calls_;
  ManualClock clock_;
  CacheIndex caches_{1000};
  ClusterView view_;
};

TEST_F(ClusterViewTest, AClusterIsReadyWithOneNodeOfEachRoleAndSaysWhatIsMissing) {
  EXPECT_EQ(view_.snapshot()->Missing(), "No prefill node and no decode node is ready.");
  const auto prefill = view_.Join(Hello("p", v1::NODE_ROLE_PREFILL));
  ASSERT_TRUE(prefill.ok());
  EXPECT_EQ(view_.snapshot()->Missing(), "No decode node is ready.");
  EXPECT_EQ(view_.snapshot()->context_length(), 0);
  ASSERT_TRUE(view_.Join(Hello("d", v1::NODE_ROLE_DECODE)).ok());
  EXPECT_EQ(view_.snapshot()->Missing(), "");
  EXPECT_EQ(view_.snapshot()->context_length(), 100);
  v1::NodeLoad draining;
  draining.set_draining(true);
  ASSERT_TRUE(view_.Report(*prefill, draining).ok());
  EXPECT_EQ(view_.snapshot()->Missing(), "No prefill node is ready.");
}

TEST_F(ClusterViewTest, ANodesClockIsComparedWithTheRoutersWhereItTellsIt) {
  const auto node = view_.Join(Hello("d", v1::NODE_ROLE_DECODE));
  ASSERT_TRUE(node.ok());
  ASSERT_TRUE(view_.Report(*node, v1::NodeLoad()).ok());
  EXPECT_EQ(view_.snapshot()->decode[0]->clock_skew, absl::ZeroDuration());
  v1::NodeLoad ahead;
  ahead.set_unix_ms(absl::ToUnixMillis(absl::Now() + absl::Seconds(7000)));
  ASSERT_TRUE(view_.Report(*node, ahead).ok());
  EXPECT_NEAR(absl::ToDoubleSeconds(view_.snapshot()->decode[0]->clock_skew), 7000, 600);
}

TEST_F(ClusterViewTest, ANodeThatDiffersIsRefusedWithTheNameOfTheField) {
  ASSERT_TRUE(view_.Join(Hello("p", v1::NODE_ROLE_PREFILL)).ok());
  const auto refused = [&](const char* field, auto change) {
    v1::NodeHello hello = Hello("d", v1::NODE_ROLE_DECODE);
    change(hello);
    const absl::Status status = view_.Join(hello).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << field;
    EXPECT_NE(status.message().find(std::string(field) + " differs"), std::string::npos) << status;
  };
  refused("version", [](auto& hello) { hello.set_version("2"); });
  refused("layout.version", [](auto& hello) { hello.mutable_layout()->set_version(2); });
  refused("layout.layers", [](auto& hello) { hello.mutable_layout()->set_layers(3); });
  refused("layout.kv_heads", [](auto& hello) { hello.mutable_layout()->set_kv_heads(3); });
  refused("layout.head_dim", [](auto& hello) { hello.mutable_layout()->set_head_dim(3); });
  refused("layout.latent_dim", [](auto& hello) { hello.mutable_layout()->set_latent_dim(3); });
  refused("layout.dtype", [](auto& hello) { hello.mutable_layout()->set_dtype("i8"); });
  refused("model_fingerprint",
          [](auto& hello) { hello.mutable_layout()->set_model_fingerprint(8); });
  EXPECT_EQ(view_.snapshot()->decode.size(), 0u);
}

TEST_F(ClusterViewTest, AnIncompleteHelloIsRefused) {
  const auto refused = [&](auto change) {
    v1::NodeHello hello = Hello("d", v1::NODE_ROLE_DECODE);
    change(hello);
    EXPECT_EQ(view_.Join(hello).status().code(), absl::StatusCode::kInvalidArgument);
  };
  refused([](auto& hello) { hello.clear_node_id(); });
  refused([](auto& hello) { hello.set_node_id(std::string(1000, 'x')); });
  refused([](auto& hello) { hello.clear_role(); });
  refused([](auto& hello) { hello.set_address("nowhere"); });
  refused([](auto& hello) { hello.set_address("host:99999"); });
  refused([](auto& hello) { hello.clear_layout(); });
  refused([](auto& hello) { hello.mutable_layout()->set_block_tokens(0); });
  refused([](auto& hello) { hello.set_context_length(-1); });
}

TEST_F(ClusterViewTest, ASilentNodeIsGoneAfterTheTimeoutAndItsReportsAreRefused) {
  const auto node = view_.Join(Hello("p", v1::NODE_ROLE_PREFILL));
  clock_.Advance(absl::Milliseconds(900));
  ASSERT_TRUE(view_.Report(*node, v1::NodeLoad()).ok());
  clock_.Advance(absl::Milliseconds(900));
  view_.ExpireSilent();
  EXPECT_EQ(view_.snapshot()->prefill.size(), 1u);
  clock_.Advance(absl::Milliseconds(101));
  view_.ExpireSilent();
  EXPECT_EQ(view_.snapshot()->prefill.size(), 0u);
  EXPECT_EQ(view_.Report(*node, v1::NodeLoad()).code(), absl::StatusCode::kNotFound);
}

TEST_F(ClusterViewTest, ANewIncarnationReplacesTheOldOneWhoseEndNoLongerMatters) {
  const auto old = view_.Join(Hello("p", v1::NODE_ROLE_PREFILL, 1));
  const auto fresh = view_.Join(Hello("p", v1::NODE_ROLE_PREFILL, 2));
  ASSERT_TRUE(fresh.ok());
  view_.Leave(*old);
  ASSERT_EQ(view_.snapshot()->prefill.size(), 1u);
  EXPECT_EQ(view_.snapshot()->prefill[0]->hello.incarnation(), 2u);
  view_.Leave(*fresh);
  EXPECT_EQ(view_.snapshot()->prefill.size(), 0u);
}

TEST(ClusterViewModelTest, ANodeOfAnotherModelThanTheRoutersIsRefusedEvenWhenItIsTheFirst) {
  OpenCalls calls;
  ManualClock clock;
  CacheIndex caches{1000};
  ClusterView view(
      absl::Milliseconds(1000), clock, caches,
      [&](const v1::NodeHello& hello) {
        return std::make_shared<NodeClient>(
            grpc::CreateChannel(hello.address(), grpc::InsecureChannelCredentials()), &calls);
      },
      /*model_fingerprint=*/7);
  v1::NodeHello other = Hello("p", v1::NODE_ROLE_PREFILL);
  other.mutable_layout()->set_model_fingerprint(8);
  const absl::Status status = view.Join(other).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("layout.model_fingerprint differs"), std::string::npos) << status;
  EXPECT_TRUE(view.Join(Hello("p", v1::NODE_ROLE_PREFILL)).ok());
}

TEST_F(ClusterViewTest, ANodeWithAnotherModelMayReplaceItselfWhenItIsAlone) {
  ASSERT_TRUE(view_.Join(Hello("p", v1::NODE_ROLE_PREFILL)).ok());
  v1::NodeHello other = Hello("p", v1::NODE_ROLE_PREFILL, 2);
  other.mutable_layout()->set_model_fingerprint(8);
  EXPECT_TRUE(view_.Join(other).ok());
}

TEST_F(ClusterViewTest, ASnapshotDoesNotChangeUnderItsReader) {
  const auto before = view_.snapshot();
  ASSERT_TRUE(view_.Join(Hello("p", v1::NODE_ROLE_PREFILL)).ok());
  EXPECT_EQ(before->prefill.size(), 0u);
}

TEST_F(ClusterViewTest, AReportForgetsWhatWasSentBeforeIt) {
  const auto node = view_.Join(Hello("p", v1::NODE_ROLE_PREFILL));
  SentWork& sent = view_.snapshot()->prefill[0]->client->sent();
  sent.tokens_since_report = 100;
  sent.tokens_outstanding = 100;
  ASSERT_TRUE(view_.Report(*node, v1::NodeLoad()).ok());
  EXPECT_EQ(sent.tokens_since_report, 0);
  EXPECT_EQ(sent.tokens_outstanding, 100);
}

}  // namespace
}  // namespace baton::router
