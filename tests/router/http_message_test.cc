#include "router/http_message.h"

#include <gtest/gtest.h>

namespace baton::router {
namespace {

TEST(HttpMessageTest, OnlyShortPlainRequestIdsAreTaken) {
  EXPECT_TRUE(IsValidRequestId("req-1.2:A_z"));
  EXPECT_TRUE(IsValidRequestId(std::string(128, 'a')));
  EXPECT_FALSE(IsValidRequestId(std::string(129, 'a')));
  EXPECT_FALSE(IsValidRequestId(""));
  EXPECT_FALSE(IsValidRequestId("a b"));
  EXPECT_FALSE(IsValidRequestId("a\r\nx: y"));
  EXPECT_FALSE(IsValidRequestId("\xC3\xA9"));
}

TEST(HttpMessageTest, PathsAreDecodedAndCutAtTheQuery) {
  std::string path;
  EXPECT_TRUE(DecodePath("/v1/models/a%2Fb?x=%zz", &path));
  EXPECT_EQ(path, "/v1/models/a/b");
  EXPECT_FALSE(DecodePath("/a%2", &path));
  EXPECT_FALSE(DecodePath("/a%zz", &path));
  EXPECT_FALSE(DecodePath("/a%0d%0a", &path));
}

TEST(HttpMessageTest, ErrorsHaveTheFourFieldsOfOpenAi) {
  EXPECT_EQ(ErrorReply(InvalidParam("n", "no")).body,
            "{\"error\":{\"message\":\"no\",\"type\":\"invalid_request_error\",\"param\":\"n\","
            "\"code\":null}}");
  const HttpReply full = ErrorReply(Full("full"));
  EXPECT_EQ(full.status, 429);
  ASSERT_EQ(full.headers.size(), 2u);
  EXPECT_EQ(full.headers[0].first, "retry-after");
  EXPECT_EQ(full.headers[0].second, "1");
  EXPECT_EQ(full.headers[1].first, "retry-after-ms");
}

TEST(HttpMessageTest, MessagesOfNodesThatMayNameAddressesDoNotReachClients) {
  for (int code = 1; code <= 16; ++code) {
    const auto status = absl::Status(static_cast<absl::StatusCode>(code), "ipv4:10.0.0.1:77 x");
    const ApiError error = FromNodeStatus(status, "decode node");
    if (code == static_cast<int>(absl::StatusCode::kInvalidArgument)) continue;
    EXPECT_EQ(error.message.find("10.0.0.1"), std::string::npos) << error.message;
    EXPECT_GE(error.http_status, 429);
  }
}

}  // namespace
}  // namespace baton::router
