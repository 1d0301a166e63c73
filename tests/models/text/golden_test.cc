// The default model's tokenizer and chat template against transformers.
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "models/text/incremental_decoder.h"
#include "models/text/tokenizer.h"
#include "tests/models/text/real_model.h"

namespace baton::models::text {
namespace {

nlohmann::ordered_json Golden(const std::string& name) {
  std::ifstream file(std::string(BATON_TEST_DATA) + "/golden/" + name);
  return nlohmann::ordered_json::parse(file);
}

class SmolLm2 : public testing::Test {
 protected:
  void SetUp() override {
    BATON_NEED_REAL_MODEL(path);
    auto tokenizer = Tokenizer::FromGguf(path);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }

  std::string DecodeStepwise(const std::vector<int32_t>& ids, bool skip_special) {
    IncrementalDecoder decoder(*tokenizer_, skip_special);
    std::string joined;
    for (int32_t id : ids) joined += decoder.Push(id);
    return joined + decoder.Finish();
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(SmolLm2, IdsAndTextsEqualTheGolden) {
  const auto golden = Golden("smollm2-tokenizer.json");
  ASSERT_FALSE(golden["cases"].empty());
  for (const auto& c : golden["cases"]) {
    const auto text = c["text"].get<std::string>();
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(*tokenizer_->Encode(text, /*parse_special=*/true, /*add_bos=*/true), ids) << text;
    EXPECT_EQ(*tokenizer_->Encode(text, /*parse_special=*/false, /*add_bos=*/false),
              c["ids_plain"].get<std::vector<int32_t>>())
        << text;
    const auto decoded = c["decoded"].get<std::string>();
    const auto without_special = c["decoded_skip_special"].get<std::string>();
    EXPECT_EQ(*tokenizer_->Decode(ids, /*skip_special=*/false), decoded);
    EXPECT_EQ(*tokenizer_->Decode(ids, /*skip_special=*/true), without_special);
    EXPECT_EQ(DecodeStepwise(ids, /*skip_special=*/false), decoded);
    EXPECT_EQ(DecodeStepwise(ids, /*skip_special=*/true), without_special);
  }
}

TEST_F(SmolLm2, HalfCharactersDecodeToOneReplacementEach) {
  const auto golden = Golden("smollm2-tokenizer.json");
  ASSERT_FALSE(golden["partial_decode"].empty());
  for (const auto& c : golden["partial_decode"]) {
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(*tokenizer_->Decode(ids, /*skip_special=*/false), c["decoded"].get<std::string>());
    EXPECT_EQ(DecodeStepwise(ids, /*skip_special=*/false), c["decoded"].get<std::string>());
  }
}

TEST_F(SmolLm2, ConversationsRenderAsInTransformers) {
  const auto golden = Golden("smollm2-chat-template.json");
  EXPECT_EQ(tokenizer_->chat_template(), golden["template"].get<std::string>());
  ASSERT_FALSE(golden["cases"].empty());
  for (const auto& c : golden["cases"]) {
    auto rendered = tokenizer_->RenderChat(c["messages"].dump(), c["add_generation_prompt"]);
    ASSERT_TRUE(rendered.ok()) << rendered.status();
    EXPECT_EQ(*rendered, c["rendered"].get<std::string>());
    EXPECT_EQ(*tokenizer_->Encode(*rendered, /*parse_special=*/true, /*add_bos=*/false),
              c["ids"].get<std::vector<int32_t>>());
  }
}

TEST_F(SmolLm2, MetadataOfTheVocabulary) {
  EXPECT_EQ(tokenizer_->vocab_size(), 49152);
  EXPECT_EQ(tokenizer_->bos_id(), 1);
  EXPECT_FALSE(tokenizer_->add_bos());
  EXPECT_THAT(tokenizer_->eos_ids(), testing::ElementsAre(2));
  EXPECT_TRUE(tokenizer_->IsSpecial(2));
  EXPECT_FALSE(tokenizer_->IsSpecial(28));
}

TEST_F(SmolLm2, NulCharactersSurvive) {
  const std::string text("a\0b\0", 4);
  EXPECT_EQ(*tokenizer_->Decode(*tokenizer_->Encode(text, true, false), false), text);
}

TEST_F(SmolLm2, ThreadsShareOneTokenizer) {
  const std::string text = "The quick brown fox jumps over 12 lazy dogs. Ëlan — 你好";
  const std::vector<int32_t> expected = *tokenizer_->Encode(text, true, false);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 200; ++k) {
        EXPECT_EQ(*tokenizer_->Encode(text, true, false), expected);
        EXPECT_EQ(*tokenizer_->Decode(expected, false), text);
        EXPECT_TRUE(tokenizer_->RenderChat(R"([{"role":"user","content":"x"}])", true).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Ten times the text may take about ten times as long; a quadratic step would take a hundred times.
TEST_F(SmolLm2, EncodingTimeGrowsWithTheLengthNotItsSquare) {
  for (const std::string& unit : {std::string("word "), std::string("a"), std::string(" "),
                                  std::string("\n"), std::string("'"), std::string("é")}) {
    const auto seconds = [&](size_t bytes) {
      std::string text;
      while (text.size() < bytes) text += unit;
      const auto start = std::chrono::steady_clock::now();
      EXPECT_TRUE(tokenizer_->Encode(text, true, false).ok());
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    const double small = std::min(seconds(100'000), seconds(100'000));
    EXPECT_LT(seconds(1'000'000), 40 * small + 0.5) << "of '" << unit << "'";
  }
}

}  // namespace
}  // namespace baton::models::text
