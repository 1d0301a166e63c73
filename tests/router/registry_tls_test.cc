// Over mutual TLS a node is who its certificate says.
#include <grpcpp/create_channel.h>
#include <unistd.h>

#include <filesystem>

#include "server/certificate_authority.h"
#include "server/tls.h"
#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

class RegistryTlsTest : public RouterFixture {
 protected:
  RegistryTlsTest()
      : folder(std::filesystem::temp_directory_path() /
               ("baton-router-tls-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(folder);
    auto authority = server::CertificateAuthority::Open(folder.string(), "test", 1);
    EXPECT_TRUE(authority.ok()) << authority.status();
    for (const auto& [role, id] :
         {std::pair{"router", "r"}, {"prefill", "p"}, {"decode", "d"}, {"any", "a"}}) {
      const auto issued = authority->Issue({role, id, {"127.0.0.1", "localhost"}}, 1, true);
      EXPECT_TRUE(issued.ok()) << issued.status();
    }
    config.mutable_process()->set_certs((folder / "r").string());
  }
  ~RegistryTlsTest() override { std::filesystem::remove_all(folder); }

  // What the router says to a hello of `role` and `node_id` from the holder of the certificate
  // `holder`.
  grpc::Status Join(const std::string& holder, v1::NodeRole role, const std::string& node_id,
                    bool movable = false) {
    const auto credentials =
        server::ChannelCredentials({(folder / holder).string(), false}, router->cluster_address());
    EXPECT_TRUE(credentials.ok()) << credentials.status();
    auto stub = v1::Registry::NewStub(grpc::CreateChannel(router->cluster_address(), *credentials));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    auto stream = stub->Join(&context);
    v1::NodeReport report;
    v1::NodeHello* hello = report.mutable_hello();
    hello->set_node_id(node_id);
    hello->set_role(role);
    hello->set_movable(movable);
    hello->set_address("127.0.0.1:9");
    hello->set_context_length(100);
    v1::KvLayout* layout = hello->mutable_layout();
    layout->set_layers(1);
    layout->set_kv_heads(1);
    layout->set_head_dim(1);
    layout->set_block_tokens(32);
    layout->set_model_fingerprint(TinyModelFingerprint());
    stream->Write(report);
    v1::RouterReply reply;
    const bool accepted = stream->Read(&reply) && reply.accepted();
    stream->WritesDone();
    const grpc::Status status = stream->Finish();
    EXPECT_EQ(status.ok(), accepted);
    return status;
  }

  const std::filesystem::path folder;
};

TEST_F(RegistryTlsTest, ANodeJoinsUnderItsOwnNameAndRoleOnly) {
  StartRouter();
  EXPECT_TRUE(Join("p", v1::NODE_ROLE_PREFILL, "p").ok());
  const grpc::Status other_id = Join("p", v1::NODE_ROLE_PREFILL, "p2");
  EXPECT_EQ(other_id.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_NE(other_id.error_message().find("node_id"), std::string::npos);
  const grpc::Status other_role = Join("p", v1::NODE_ROLE_DECODE, "p");
  EXPECT_EQ(other_role.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_NE(other_role.error_message().find("role"), std::string::npos);
}

TEST_F(RegistryTlsTest, ANodeOfRoleAnyIsEitherButSaysThatItMoves) {
  StartRouter();
  EXPECT_TRUE(Join("a", v1::NODE_ROLE_PREFILL, "a", true).ok());
  EXPECT_TRUE(Join("a", v1::NODE_ROLE_DECODE, "a", true).ok());
  EXPECT_EQ(Join("a", v1::NODE_ROLE_DECODE, "a").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Join("p", v1::NODE_ROLE_DECODE, "p", true).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(RegistryTlsTest, WithoutACertificateNobodyIsHeard) {
  StartRouter();
  auto stub = v1::Registry::NewStub(
      grpc::CreateChannel(router->cluster_address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  auto stream = stub->Join(&context);
  EXPECT_FALSE(stream->Finish().ok());
}

TEST_F(RegistryTlsTest, PlaintextBeyondLoopbackNeedsTheWordInsecure) {
  config.mutable_process()->clear_certs();
  config.set_cluster_listen("0.0.0.0:0");
  const auto refused = RouterNode::Start(config);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  config.mutable_process()->set_insecure(true);
  EXPECT_TRUE(RouterNode::Start(config).ok());
}

}  // namespace
}  // namespace baton::router
