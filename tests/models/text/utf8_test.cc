#include "models/text/utf8.h"

#include <string>

#include "gtest/gtest.h"

namespace baton::models::text {
namespace {

constexpr char kBad[] = "\xEF\xBF\xBD";

std::string Whole(const std::string& bytes) {
  std::string text;
  EXPECT_EQ(AppendUtf8(bytes, /*at_end=*/true, text), bytes.size());
  return text;
}

std::string Repeat(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += kBad;
  return text;
}

TEST(Utf8, ValidTextIsUntouched) {
  const std::string text("a\0é你👩 \xF4\x8F\xBF\xBF", 16);
  EXPECT_EQ(Whole(text), text);
}

// The examples of the Unicode standard, tables 3-8 to 3-11.
TEST(Utf8, EachMaximalSubpartBecomesOneReplacement) {
  EXPECT_EQ(Whole("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), Repeat(8) + "A");
  EXPECT_EQ(Whole("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), Repeat(8) + "A");
  EXPECT_EQ(Whole("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), Repeat(5) + "A" + Repeat(2) + "B");
  EXPECT_EQ(Whole("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), Repeat(4) + "A");
}

TEST(Utf8, AnIncompleteCharacterWaitsUnlessItIsTheEnd) {
  for (const std::string part : {"\xC3", "\xE2\x82", "\xF0\x9F\x91", "\xF0"}) {
    std::string text;
    EXPECT_EQ(AppendUtf8("x" + part, /*at_end=*/false, text), 1u);
    EXPECT_EQ(text, "x");
    EXPECT_EQ(Whole("x" + part), std::string("x") + kBad);
  }
}

TEST(Utf8, BytesThatCannotBecomeACharacterDoNotWait) {
  std::string text;
  EXPECT_EQ(AppendUtf8("\xED\xA0", /*at_end=*/false, text), 2u);
  EXPECT_EQ(text, Repeat(2));
}

}  // namespace
}  // namespace baton::models::text
