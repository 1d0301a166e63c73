#include "models/text/tokenizer.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/models/text/made_gguf.h"

namespace baton::models::text {
namespace {

using test::MadeGguf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kSpace[] = "\xE2\x96\x81";  // how SentencePiece writes a space

// ids: 0 <unk>, 1 <s>, 2 </s>, 3.. 258 bytes, then pieces.
struct Piece {
  std::string text;
  float score;
  int32_t type = 1;
};

void FillSentencePiece(MadeGguf& file, const std::vector<Piece>& pieces) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  std::vector<float> scores = {0, 0, 0};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    tokens.push_back(name);
    types.push_back(6);
    scores.push_back(0);
  }
  for (const Piece& piece : pieces) {
    tokens.push_back(piece.text);
    types.push_back(piece.type);
    scores.push_back(piece.score);
  }
  file.String("tokenizer.ggml.model", "llama")
      .Strings("tokenizer.ggml.tokens", tokens)
      .Ints("tokenizer.ggml.token_type", types)
      .Floats("tokenizer.ggml.scores", scores)
      .Uint("tokenizer.ggml.bos_token_id", 1)
      .Uint("tokenizer.ggml.eos_token_id", 2);
}

// a b c, "ab", "Ġa", control <|x|>, user-defined "bc"; ids in that order, space is Ġ.
void FillBytePair(MadeGguf& file) {
  file.String("tokenizer.ggml.model", "gpt2")
      .Strings("tokenizer.ggml.tokens", {"a", "b", "c", "ab", "\xC4\xA0",
                                         "\xC4\xA0"
                                         "a",
                                         "<|x|>", "bc"})
      .Ints("tokenizer.ggml.token_type", {1, 1, 1, 1, 1, 1, 3, 4})
      .Strings("tokenizer.ggml.merges", {"\xC4\xA0 a", "a b"})
      .Uint("tokenizer.ggml.bos_token_id", 6)
      .Bool("tokenizer.ggml.add_bos_token", true);
}

std::unique_ptr<Tokenizer> Load(MadeGguf& file) {
  auto tokenizer = Tokenizer::FromGguf(file.Write());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

TEST(BytePairTokenizer, MergesByRankWithinWords) {
  MadeGguf file;
  FillBytePair(file);
  auto tokenizer = Load(file.String("tokenizer.ggml.pre", "gpt-2"));
  EXPECT_THAT(*tokenizer->Encode("ab ab", false, false), ElementsAre(3, 5, 1));
  EXPECT_THAT(*tokenizer->Encode("", true, false), IsEmpty());
}

TEST(BytePairTokenizer, ControlTokensAreTextUnlessParsedAndUserTokensAlwaysCount) {
  MadeGguf file;
  FillBytePair(file);
  auto tokenizer = Load(file.String("tokenizer.ggml.pre", "gpt-2"));
  EXPECT_THAT(*tokenizer->Encode("a<|x|>bc", true, false), ElementsAre(0, 6, 7));
  // The characters of <|x|> are not in this vocabulary, so nothing of it remains.
  EXPECT_THAT(*tokenizer->Encode("a<|x|>bc", false, false), ElementsAre(0, 7));
  EXPECT_EQ(*tokenizer->Decode({0, 6, 7}, false), "a<|x|>bc");
  EXPECT_EQ(*tokenizer->Decode({0, 6, 7}, true), "abc");
}

TEST(BytePairTokenizer, BosComesInFrontOnlyWhenAskedFor) {
  MadeGguf file;
  FillBytePair(file);
  auto tokenizer = Load(file.String("tokenizer.ggml.pre", "gpt-2"));
  EXPECT_TRUE(tokenizer->add_bos());
  EXPECT_THAT(*tokenizer->Encode("a", true, true), ElementsAre(6, 0));
  EXPECT_THAT(*tokenizer->Encode("a", true, false), ElementsAre(0));
}

TEST(BytePairTokenizer, AnUnknownPreTokenizerIsRefusedWithTheKnownOnes) {
  MadeGguf file;
  FillBytePair(file);
  const auto status = Tokenizer::FromGguf(file.String("tokenizer.ggml.pre", "novel").Write());
  EXPECT_EQ(status.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.status().message()),
              testing::AllOf(HasSubstr("tokenizer.ggml.pre"), HasSubstr("novel"),
                             HasSubstr("smollm"), HasSubstr("llama-bpe")));
}

TEST(BytePairTokenizer, AMergeOutsideTheVocabularyIsRefused) {
  for (const char* merge : {"a c", "a z", "nospace", "a averyveryverylongtoken"}) {
    MadeGguf file;
    file.String("tokenizer.ggml.model", "gpt2")
        .String("tokenizer.ggml.pre", "gpt-2")
        .Strings("tokenizer.ggml.tokens", {"a", "b", "c"})
        .Ints("tokenizer.ggml.token_type", {1, 1, 1})
        .Strings("tokenizer.ggml.merges", {merge});
    const auto tokenizer = Tokenizer::FromGguf(file.Write());
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kFailedPrecondition) << merge;
    EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("tokenizer.ggml.merges"));
  }
}

TEST(SentencePieceTokenizer, MergesTheBestScoreFirstAndTheLeftmostOfEquals) {
  MadeGguf file;
  FillSentencePiece(file, {{"a", -9}, {"b", -9}, {"c", -9}, {"ab", -2}, {"bc", -1}, {"aa", -3}});
  auto tokenizer = Load(file.Bool("tokenizer.ggml.add_space_prefix", false));
  EXPECT_THAT(*tokenizer->Encode("abc", true, false), ElementsAre(259, 263));
  EXPECT_THAT(*tokenizer->Encode("aaa", true, false), ElementsAre(264, 259));
  EXPECT_EQ(*tokenizer->Decode({259, 263}, false), "abc");
}

TEST(SentencePieceTokenizer, WritesSpacesAndFallsBackToBytes) {
  MadeGguf file;
  FillSentencePiece(file, {{kSpace, -5}, {"a", -9}, {std::string(kSpace) + "a", -1}});
  auto tokenizer = Load(file);
  EXPECT_TRUE(tokenizer->add_bos());
  EXPECT_THAT(*tokenizer->Encode("a é", true, true), ElementsAre(1, 261, 259, 3 + 0xC3, 3 + 0xA9));
  EXPECT_EQ(*tokenizer->Decode({261, 259, 3 + 0xC3, 3 + 0xA9}, false), " a é");
  // After a special token the space comes again.
  EXPECT_THAT(*tokenizer->Encode("a</s>a", true, false), ElementsAre(261, 2, 261));
  EXPECT_THAT(*tokenizer->Encode("<0x41>", false, false), testing::Not(testing::Contains(3 + 0x41)))
      << "byte tokens are not recognised in text";
}

TEST(Tokenizer, MissingKeysAndUnknownModelsAreNamed) {
  MadeGguf empty;
  EXPECT_THAT(std::string(Tokenizer::FromGguf(empty.Write()).status().message()),
              HasSubstr("tokenizer.ggml.model is missing"));
  MadeGguf bert;
  bert.String("tokenizer.ggml.model", "bert")
      .Strings("tokenizer.ggml.tokens", {"a"})
      .Ints("tokenizer.ggml.token_type", {1});
  const absl::Status refused = Tokenizer::FromGguf(bert.Write()).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("tokenizer.ggml.model is \"bert\""));
}

TEST(Tokenizer, SizesTypesAndIdsAreChecked) {
  MadeGguf short_types;
  short_types.String("tokenizer.ggml.model", "llama")
      .Strings("tokenizer.ggml.tokens", {"a", "b"})
      .Ints("tokenizer.ggml.token_type", {1})
      .Floats("tokenizer.ggml.scores", {0, 0});
  EXPECT_THAT(std::string(Tokenizer::FromGguf(short_types.Write()).status().message()),
              HasSubstr("tokenizer.ggml.token_type has 1 entries"));
  MadeGguf bad_id;
  FillSentencePiece(bad_id, {});
  bad_id.Uint("tokenizer.ggml.eot_token_id", 9999);
  const absl::Status status = Tokenizer::FromGguf(bad_id.Write()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.ggml.eot_token_id is 9999"));
}

TEST(Tokenizer, EveryEndTokenEndsAGeneration) {
  MadeGguf file;
  FillSentencePiece(file, {{"<eot>", 0, 3}});
  auto tokenizer =
      Load(file.Uint("tokenizer.ggml.eot_token_id", 259).Uint("tokenizer.ggml.eom_token_id", 2));
  EXPECT_THAT(tokenizer->eos_ids(), ElementsAre(2, 259));
}

TEST(Tokenizer, TokensThatAreKnownToEndATurnCountWhereTheFileNamesNone) {
  MadeGguf file;
  FillSentencePiece(file, {{"<end_of_turn>", 0, 3}, {"<|im_end|>", 0, 1}, {"<|end|>", 0, 3}});
  EXPECT_THAT(Load(file)->eos_ids(), ElementsAre(2, 259, 261)) << "<|im_end|> is plain text here";
  MadeGguf parts;
  FillSentencePiece(parts, {{"<|end|>", 0, 3}, {"<|return|>", 0, 3}});
  EXPECT_THAT(Load(parts)->eos_ids(), ElementsAre(2));
}

TEST(Tokenizer, EosComesBehindWhereTheFileWantsIt) {
  MadeGguf file;
  FillSentencePiece(file, {{"a", -1}});
  file.Bool("tokenizer.ggml.add_space_prefix", false).Bool("tokenizer.ggml.add_eos_token", true);
  auto tokenizer = Load(file);
  EXPECT_THAT(*tokenizer->Encode("a", true, true), ElementsAre(1, 259, 2));
  EXPECT_THAT(*tokenizer->Encode("a", true, false), ElementsAre(259));
}

TEST(UnigramTokenizer, TheBestSumOfScoresWins) {
  MadeGguf file;
  file.String("tokenizer.ggml.model", "t5")
      .Strings("tokenizer.ggml.tokens", {"<pad>", "</s>", "<unk>", kSpace, "a", "b", "ab"})
      .Ints("tokenizer.ggml.token_type", {3, 3, 2, 1, 1, 1, 1})
      .Floats("tokenizer.ggml.scores", {0, 0, 0, -3, -2, -2, -5})
      .Uint("tokenizer.ggml.eos_token_id", 1);
  auto tokenizer = Load(file);
  EXPECT_FALSE(tokenizer->add_bos());
  EXPECT_THAT(*tokenizer->Encode("ab\xC3\xA9", true, true), ElementsAre(3, 4, 5, 2, 1));
  EXPECT_EQ(*tokenizer->Decode({3, 4, 5}, false), " ab");
}

TEST(PlainBytePairTokenizer, WritesSpacesAndFallsBackToBytes) {
  MadeGguf file;
  file.String("tokenizer.ggml.model", "gemma4")
      .Strings("tokenizer.ggml.tokens",
               {"a", kSpace, std::string(kSpace) + "a", "<0xC3>", "<0xA9>", "\n", "\n\n"})
      .Ints("tokenizer.ggml.token_type", {1, 1, 1, 6, 6, 1, 1})
      .Strings("tokenizer.ggml.merges", {std::string(kSpace) + " a"});
  auto tokenizer = Load(file);
  EXPECT_THAT(*tokenizer->Encode("a a\n\n\xC3\xA9", true, false), ElementsAre(0, 2, 6, 3, 4));
  EXPECT_EQ(*tokenizer->Decode({0, 2, 6, 3, 4}, false), "a a\n\n\xC3\xA9");
}

TEST(Tokenizer, InvalidUtf8IsReplacedBeforeEncoding) {
  MadeGguf file;
  FillSentencePiece(file, {{"a", -1}});
  auto tokenizer = Load(file.Bool("tokenizer.ggml.add_space_prefix", false));
  const std::vector<int32_t> ids = *tokenizer->Encode("a\xFF", true, false);
  EXPECT_EQ(*tokenizer->Decode(ids, false), "a\xEF\xBF\xBD");
}

TEST(Tokenizer, AnIdOutsideTheVocabularyIsRefusedByNumber) {
  MadeGguf file;
  FillSentencePiece(file, {});
  auto tokenizer = Load(file);
  for (int32_t id : {-1, 259, 1 << 30}) {
    const auto text = tokenizer->Decode({1, id}, false);
    EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(text.status().message()), HasSubstr(std::to_string(id)));
    EXPECT_EQ(tokenizer->TokenBytes(id), "");
    EXPECT_FALSE(tokenizer->IsSpecial(id));
  }
}

}  // namespace
}  // namespace baton::models::text
