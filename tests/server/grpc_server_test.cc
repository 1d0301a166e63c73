#include "server/grpc_server.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include "proto/decode.grpc.pb.h"
#include "server/certificate_authority.h"
#include "tests/fakes/temp_folder.h"

namespace baton::server {
namespace {

using testing::HasSubstr;

// Says to whom it listens: prefill nodes and routers.
class PickyService final : public v1::Decode::CallbackService {
  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context, const v1::RenewRequest*,
                                  v1::RenewReply*) override {
    const absl::Status status = RequireRole(*context, {"prefill", "router"});
    auto* reactor = context->DefaultReactor();
    reactor->Finish(
        grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message())));
    return reactor;
  }
};

grpc::Status Renew(const std::string& address, const TlsOptions& tls) {
  const auto credentials = ChannelCredentials(tls, address);
  EXPECT_TRUE(credentials.ok()) << credentials.status();
  const auto stub = v1::Decode::NewStub(grpc::CreateChannel(address, *credentials));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  v1::RenewReply reply;
  return stub->Renew(&context, {}, &reply);
}

TEST(GrpcServer, SaysWhichPortItTookAndRefusesATakenOne) {
  auto first = GrpcServer::Start("127.0.0.1:0", {}, {});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT((*first)->address(), testing::Not(testing::EndsWith(":0")));
  const auto second = GrpcServer::Start((*first)->address(), {}, {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr((*first)->address()));
}

TEST(GrpcServer, HearsOnlyTheRolesThatAServiceAllows) {
  const fakes::TempFolder folder;
  auto authority = CertificateAuthority::Open(folder.path(), "test", 1);
  ASSERT_TRUE(authority.ok());
  for (const char* role : {"any", "decode", "prefill", "router"}) {
    ASSERT_TRUE(authority->Issue({role, role, {"127.0.0.1"}}, 1, false).ok());
  }
  PickyService service;
  auto server = GrpcServer::Start("127.0.0.1:0", {folder.path() + "/decode"}, {&service});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_TRUE(Renew((*server)->address(), {folder.path() + "/prefill"}).ok());
  EXPECT_TRUE(Renew((*server)->address(), {folder.path() + "/router"}).ok());
  // It may be a prefill node just now.
  EXPECT_TRUE(Renew((*server)->address(), {folder.path() + "/any"}).ok());
  const grpc::Status refused = Renew((*server)->address(), {folder.path() + "/decode"});
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(refused.error_message(), HasSubstr("role 'decode', allowed: prefill, router"));
  EXPECT_FALSE(Renew((*server)->address(), {}).ok()) << "plaintext must not be heard";

  const fakes::TempFolder elsewhere;
  auto stranger = CertificateAuthority::Open(elsewhere.path(), "test", 1);
  ASSERT_TRUE(stranger->Issue({"router", "router", {"127.0.0.1"}}, 1, false).ok());
  EXPECT_FALSE(Renew((*server)->address(), {elsewhere.path() + "/router"}).ok())
      << "a certificate of another authority must not be heard";
}

}  // namespace
}  // namespace baton::server
