#include "router/json_text.h"

#include <gtest/gtest.h>

namespace baton::router {
namespace {

std::string Quoted(absl::string_view text) {
  std::string out;
  AppendJsonString(text, &out);
  return out;
}

TEST(JsonTextTest, EveryByteStringBecomesAValidJsonString) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string text = {static_cast<char>(a), static_cast<char>(b), 'x'};
      const Json parsed = Json::parse(Quoted(text), nullptr, false);
      ASSERT_FALSE(parsed.is_discarded()) << a << " " << b;
      if (a < 0x80 && b < 0x80) {
        ASSERT_EQ(parsed.get<std::string>(), text);
      }
    }
  }
}

TEST(JsonTextTest, ValidCharactersOfEveryLengthAreKept) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"\\\n\x01";
  EXPECT_EQ(Json::parse(Quoted(text)).get<std::string>(), text);
}

TEST(JsonTextTest, InvalidSequencesBecomeOneReplacementEach) {
  // A truncated four-byte character is one maximal subpart; surrogates and overlong forms are byte
  // by byte.
  EXPECT_EQ(ValidUtf8("a\xF0\x9F\x98z"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(ValidUtf8("\xC0\xAF"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(CodePoints(ValidUtf8("\xED\xA0\x80")), 3);
}

TEST(JsonTextTest, NestingIsCountedOutsideOfStringsOnly) {
  EXPECT_EQ(NestingDepth("{\"a\":[[1],\"[[[[\\\"[[\"]}"), 3);
  EXPECT_EQ(NestingDepth(std::string(100000, '[')), 100000);
}

}  // namespace
}  // namespace baton::router
