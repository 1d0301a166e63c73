#include "router/text_stream.h"

#include <gtest/gtest.h>

#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

class TextStreamTest : public ::testing::Test {
 protected:
  TextStreamTest() : tokenizer_(*models::text::Tokenizer::FromGguf(TinyModelPath())) {}

  // The token of one byte.
  v1::Token Byte(char c) {
    v1::Token token;
    token.set_index(index_++);
    token.set_id(3 + static_cast<unsigned char>(c));
    return token;
  }

  std::unique_ptr<models::text::Tokenizer> tokenizer_;
  int32_t index_ = 0;
};

TEST_F(TextStreamTest, ACharacterComesWhenItsLastByteHasCome) {
  TextStream stream(*tokenizer_, StopScanner({}), true, 0);
  EXPECT_EQ(stream.Push(Byte('\xC3')).text, "");
  const TextStream::Piece piece = stream.Push(Byte('\xA9'));
  EXPECT_EQ(piece.text, "\xC3\xA9");
  EXPECT_EQ(piece.tokens.size(), 2u);
  EXPECT_EQ(stream.Push(Byte('\xC3')).text, "");
  EXPECT_EQ(stream.Finish(nullptr).text, "\xEF\xBF\xBD");
}

TEST_F(TextStreamTest, TokensBehindAStopStringAreNeverHandedOut) {
  TextStream stream(*tokenizer_, StopScanner({"bc"}), true, 0);
  EXPECT_EQ(stream.Push(Byte('a')).tokens.size(), 1u);
  EXPECT_EQ(stream.Push(Byte('b')).tokens.size(), 0u);
  const TextStream::Piece piece = stream.Push(Byte('c'));
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(piece.text, "");
  EXPECT_EQ(piece.tokens.size(), 0u);
}

TEST_F(TextStreamTest, StopStringsCountFromMinTokensOn) {
  TextStream stream(*tokenizer_, StopScanner({"a"}), true, 3);
  EXPECT_EQ(stream.Push(Byte('a')).text, "a");
  EXPECT_EQ(stream.Push(Byte('a')).text, "a");
  EXPECT_EQ(stream.Push(Byte('a')).text, "");
  EXPECT_TRUE(stream.stopped());
}

TEST_F(TextStreamTest, ControlTokensHaveNoTextUnlessAskedFor) {
  v1::Token control;
  control.set_id(1);
  TextStream plain(*tokenizer_, StopScanner({}), true, 0);
  EXPECT_EQ(plain.Push(control).text, "");
  TextStream all(*tokenizer_, StopScanner({}), false, 0);
  EXPECT_EQ(all.Push(control).text, "<|im_start|>");
}

}  // namespace
}  // namespace baton::router
