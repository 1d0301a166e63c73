#include "server/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/certificate_authority.h"
#include "tests/fakes/temp_folder.h"

namespace baton::server {
namespace {

using testing::HasSubstr;

TEST(IsLoopback, KnowsTheAddressesThatStayOnTheMachine) {
  for (const char* address : {"127.0.0.1:80", "127.255.0.9", "localhost:1", "localhost", "[::1]:80",
                              "::1", "unix:/run/baton.sock"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  for (const char* address : {"0.0.0.0:80", "10.0.0.1:80", "127.evil.example:80", "127.0.0.1.evil",
                              "[::]:80", "localhost.evil:80", "", "1127.0.0.1"}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

TEST(Credentials, PlaintextBeyondLoopbackNeedsTheWordInsecure) {
  for (const bool server : {true, false}) {
    const auto status = [server](const TlsOptions& options, absl::string_view address) {
      return server ? ServerCredentials(options, address).status()
                    : ChannelCredentials(options, address).status();
    };
    EXPECT_TRUE(status({}, "127.0.0.1:1").ok());
    EXPECT_EQ(status({}, "10.0.0.1:1").code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status({}, "10.0.0.1:1").message()), HasSubstr("--insecure"));
    EXPECT_TRUE(status({.insecure = true}, "10.0.0.1:1").ok());
  }
}

TEST(Credentials, NameTheFileThatIsMissingOrWrong) {
  const fakes::TempFolder folder;
  EXPECT_EQ(ServerCredentials({folder.path()}, "10.0.0.1:1").status().code(),
            absl::StatusCode::kNotFound);
  auto authority = CertificateAuthority::Open(folder.path(), "test", 1);
  ASSERT_TRUE(authority.ok());
  ASSERT_TRUE(authority->Issue({"decode", "d0", {"localhost"}}, 1, false).ok());
  ASSERT_TRUE(authority->Issue({"decode", "d1", {"localhost"}}, 1, false).ok());
  EXPECT_TRUE(ServerCredentials({folder.path() + "/d0"}, "10.0.0.1:1").ok());

  std::filesystem::copy_file(folder.path() + "/d1/node.key", folder.path() + "/d0/node.key",
                             std::filesystem::copy_options::overwrite_existing);
  const absl::Status mixed = ServerCredentials({folder.path() + "/d0"}, "10.0.0.1:1").status();
  EXPECT_EQ(mixed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(mixed.message()), HasSubstr("d0/node.key is not the key of"));

  folder.Write("d0/node.pem", "nothing of the kind");
  const absl::Status broken = ChannelCredentials({folder.path() + "/d0"}, "10.0.0.1:1").status();
  EXPECT_EQ(broken.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(broken.message()), HasSubstr("d0/node.pem"));
}

}  // namespace
}  // namespace baton::server
