#include "server/certificate_authority.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/fakes/temp_folder.h"

namespace baton::server {
namespace {

using testing::HasSubstr;

CertificateAuthority Authority(const std::string& folder) {
  auto authority = CertificateAuthority::Open(folder, "test", 10);
  EXPECT_TRUE(authority.ok()) << authority.status();
  return *std::move(authority);
}

TEST(ParseNodeName, TakesRoleIdAndHosts) {
  const auto node = ParseNodeName("decode:d-1:d1.example,10.0.0.7,::1");
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ(node->role, "decode");
  EXPECT_EQ(node->id, "d-1");
  EXPECT_THAT(node->hosts, testing::ElementsAre("d1.example", "10.0.0.7", "::1"));
}

TEST(ParseNodeName, NamesWhatIsWrongAndWhatIsAllowed) {
  const struct {
    const char* text;
    const char* says;
  } cases[] = {
      {"decode:d1", "role:id:host"},
      {"boss:d1:h", "allowed: router, prefill, decode, any"},
      {"decode:../x:h", "id '../x'"},
      {"decode:..:h", "id '..'"},
      {"decode::h", "id ''"},
      {"decode:d1:", "host ''"},
      {"decode:d1:h,DNS.1=evil/x", "host 'DNS.1=evil/x'"},
  };
  for (const auto& bad : cases) {
    const absl::Status status = ParseNodeName(bad.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.says)) << bad.text;
  }
}

TEST(CertificateAuthority, IsMadeOnceAndFoundAgain) {
  const fakes::TempFolder folder;
  EXPECT_TRUE(Authority(folder.path()).is_new());
  const std::string certificate = fakes::ContentsOf(folder.path() + "/ca.pem");
  EXPECT_FALSE(Authority(folder.path()).is_new());
  EXPECT_EQ(fakes::ContentsOf(folder.path() + "/ca.pem"), certificate);
}

TEST(CertificateAuthority, RefusesAnotherClustersFolder) {
  const fakes::TempFolder folder;
  Authority(folder.path());
  const absl::Status status = CertificateAuthority::Open(folder.path(), "other", 10).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("cluster 'test', not of 'other'"));
}

TEST(CertificateAuthority, RefusesHalfOfItself) {
  const fakes::TempFolder folder;
  Authority(folder.path());
  std::filesystem::remove(folder.path() + "/ca.key");
  EXPECT_EQ(CertificateAuthority::Open(folder.path(), "test", 10).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(CertificateAuthority, NamesAFileThatDoesNotParse) {
  const fakes::TempFolder folder;
  Authority(folder.path());
  folder.Write("ca.pem", "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n");
  const absl::Status status = CertificateAuthority::Open(folder.path(), "test", 10).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(folder.path() + "/ca.pem"));
}

TEST(CertificateAuthority, KeepsACertificateThatSaysTheSame) {
  const fakes::TempFolder folder;
  const CertificateAuthority authority = Authority(folder.path());
  const NodeName node{"prefill", "p0", {"localhost", "127.0.0.1"}};
  EXPECT_TRUE(*authority.Issue(node, 5, false));
  const std::string first = fakes::ContentsOf(folder.path() + "/p0/node.pem");
  EXPECT_FALSE(*authority.Issue(node, 5, false));
  EXPECT_EQ(fakes::ContentsOf(folder.path() + "/p0/node.pem"), first);
  EXPECT_TRUE(*authority.Issue(node, 5, true));
  EXPECT_NE(fakes::ContentsOf(folder.path() + "/p0/node.pem"), first);
}

TEST(CertificateAuthority, ReplacesADifferentCertificateOnlyByForce) {
  const fakes::TempFolder folder;
  const CertificateAuthority authority = Authority(folder.path());
  ASSERT_TRUE(authority.Issue({"prefill", "p0", {"localhost"}}, 5, false).ok());
  const absl::Status role = authority.Issue({"decode", "p0", {"localhost"}}, 5, false).status();
  EXPECT_EQ(role.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(role.message()), HasSubstr("--force"));
  EXPECT_FALSE(authority.Issue({"prefill", "p0", {"elsewhere"}}, 5, false).ok());
  EXPECT_TRUE(*authority.Issue({"decode", "p0", {"localhost"}}, 5, true));

  // The same name below an authority that was made anew.
  std::filesystem::remove(folder.path() + "/ca.key");
  std::filesystem::remove(folder.path() + "/ca.pem");
  const absl::Status stale =
      Authority(folder.path()).Issue({"decode", "p0", {"localhost"}}, 5, false).status();
  EXPECT_THAT(std::string(stale.message()), HasSubstr("another authority"));
}

}  // namespace
}  // namespace baton::server
