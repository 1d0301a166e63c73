#include "models/text/incremental_decoder.h"

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "models/text/utf8.h"
#include "tests/models/text/made_gguf.h"

namespace baton::models::text {
namespace {

// A vocabulary of 256 bytes (id = byte) and </s> (id 256).
std::unique_ptr<Tokenizer> ByteTokenizer() {
  test::MadeGguf file;
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    tokens.push_back(name);
  }
  tokens.push_back("</s>");
  std::vector<int32_t> types(256, 6);
  types.push_back(3);
  file.String("tokenizer.ggml.model", "llama")
      .Strings("tokenizer.ggml.tokens", tokens)
      .Ints("tokenizer.ggml.token_type", types)
      .Floats("tokenizer.ggml.scores", std::vector<float>(257, 0));
  auto tokenizer = Tokenizer::FromGguf(file.Write());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

bool IsWholeCharacters(const std::string& text) {
  std::string copy;
  return AppendUtf8(text, /*at_end=*/false, copy) == text.size() && copy == text;
}

TEST(IncrementalDecoder, ACharacterAppearsWhenItIsComplete) {
  auto tokenizer = ByteTokenizer();
  IncrementalDecoder decoder(*tokenizer, /*skip_special=*/true);
  EXPECT_EQ(decoder.Push('h'), "h");
  EXPECT_EQ(decoder.Push(0xF0), "");
  EXPECT_EQ(decoder.Push(0x9F), "");
  EXPECT_EQ(decoder.Push(0x91), "");
  EXPECT_EQ(decoder.Push(256), "") << "a special token is left out and does not end the character";
  EXPECT_EQ(decoder.Push(0xA9), "👩");
  EXPECT_EQ(decoder.Push(0xC3), "");
  EXPECT_EQ(decoder.Finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(IncrementalDecoder, AnyBytesJoinToTheDecodedWhole) {
  auto tokenizer = ByteTokenizer();
  std::mt19937 random(7);
  // Mostly lead and continuation bytes, so that every kind of broken sequence occurs.
  const std::vector<int32_t> alphabet = {'a',  0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC3,
                                         0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 256};
  for (int round = 0; round < 500; ++round) {
    for (bool skip_special : {false, true}) {
      std::vector<int32_t> ids;
      for (size_t i = random() % 24; i > 0; --i)
        ids.push_back(alphabet[random() % alphabet.size()]);
      IncrementalDecoder decoder(*tokenizer, skip_special);
      std::string joined;
      for (int32_t id : ids) {
        const std::string text = decoder.Push(id);
        EXPECT_TRUE(IsWholeCharacters(text));
        joined += text;
      }
      joined += decoder.Finish();
      EXPECT_EQ(joined, *tokenizer->Decode(ids, skip_special));
    }
  }
}

}  // namespace
}  // namespace baton::models::text
