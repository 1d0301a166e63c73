#include "models/text/grammar.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>

#include "tests/models/text/real_model.h"

namespace baton::models::text {
namespace {

using Clock = std::chrono::steady_clock;

class GrammarTest : public ::testing::Test {
 protected:
  void SetUp() override {
    BATON_NEED_REAL_MODEL(path);
    auto tokenizer = Tokenizer::FromGguf(path);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    auto compiler = GrammarCompiler::Create(*tokenizer_);
    ASSERT_TRUE(compiler.ok()) << compiler.status();
    compiler_ = *std::move(compiler);
  }

  std::unique_ptr<GrammarMatcher> Compile(GrammarKind kind, absl::string_view source) {
    auto matcher = compiler_->Compile(kind, source);
    EXPECT_TRUE(matcher.ok()) << matcher.status();
    return matcher.ok() ? *std::move(matcher) : nullptr;
  }

  std::vector<int32_t> Allowed(GrammarMatcher& matcher) {
    std::vector<uint32_t> mask;
    const Clock::time_point begin = Clock::now();
    const absl::Status status = matcher.Mask(&mask, tokenizer_->vocab_size());
    mask_us_.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
    EXPECT_TRUE(status.ok()) << status;
    std::vector<int32_t> ids;
    for (int32_t id = 0; id < tokenizer_->vocab_size(); ++id) {
      if (mask[id / 32] >> (id % 32) & 1) ids.push_back(id);
    }
    return ids;
  }

  bool IsEnd(int32_t id) const {
    const std::vector<int32_t>& ends = tokenizer_->eos_ids();
    return std::find(ends.begin(), ends.end(), id) != ends.end();
  }

  // A text of random tokens that the grammar allows, up to the first end token.
  std::string RandomText(GrammarMatcher& matcher, uint32_t seed, std::vector<int32_t>* tokens) {
    std::mt19937 random(seed);
    for (int step = 0; step < 400; ++step) {
      const std::vector<int32_t> allowed = Allowed(matcher);
      EXPECT_FALSE(allowed.empty());
      if (allowed.empty()) break;
      const auto end =
          std::find_if(allowed.begin(), allowed.end(), [&](int32_t id) { return IsEnd(id); });
      if (end != allowed.end()) break;
      tokens->push_back(allowed[random() % allowed.size()]);
      EXPECT_TRUE(matcher.Consume({tokens->back()}).ok());
    }
    return *tokenizer_->Decode(*tokens, false);
  }

  double MedianMaskUs() {
    std::sort(mask_us_.begin(), mask_us_.end());
    return mask_us_[mask_us_.size() / 2];
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<GrammarCompiler> compiler_;
  std::vector<double> mask_us_;
};

constexpr absl::string_view kPerson = R"({
  "type": "object",
  "properties": {
    "name": {"type": "string", "minLength": 1, "maxLength": 12},
    "age": {"type": "integer", "minimum": 0, "maximum": 150},
    "tags": {"type": "array", "items": {"enum": ["a", "bee", "\u00e9"]}, "maxItems": 3}
  },
  "required": ["name", "age", "tags"], "additionalProperties": false})";

TEST_F(GrammarTest, WhatASchemaAllowsParsesAndValidates) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const auto matcher = Compile(GrammarKind::kJsonSchema, kPerson);
    std::vector<int32_t> tokens;
    const std::string text = RandomText(*matcher, seed, &tokens);
    const auto json = nlohmann::json::parse(text, nullptr, false);
    ASSERT_TRUE(json.is_object()) << text;
    EXPECT_EQ(json.size(), 3u) << text;
    EXPECT_GE(json["age"].get<int>(), 0) << text;
    EXPECT_LE(json["age"].get<int>(), 150) << text;
    EXPECT_LE(json["tags"].size(), 3u) << text;
  }
}

TEST_F(GrammarTest, RegularExpressionsAndLarkGrammarsHold) {
  for (uint32_t seed = 0; seed < 5; ++seed) {
    std::vector<int32_t> tokens;
    const auto regex = Compile(GrammarKind::kRegex, "(yes|no): [a-f]{2,5}!");
    EXPECT_TRUE(
        std::regex_match(RandomText(*regex, seed, &tokens), std::regex("(yes|no): [a-f]{2,5}!")));
    tokens.clear();
    const auto lark = Compile(GrammarKind::kLark, "start: \"<\" /[0-9]{1,4}/ \">\" start?\n");
    const std::string text = RandomText(*lark, seed, &tokens);
    EXPECT_TRUE(std::regex_match(text, std::regex("(<[0-9]{1,4}>)+"))) << text;
  }
}

TEST_F(GrammarTest, EndTokensAreAllowedWhereTheTextIsCompleteAndControlTokensNever) {
  const auto matcher = Compile(GrammarKind::kRegex, "ab?");
  for (const int32_t id : Allowed(*matcher)) {
    EXPECT_FALSE(tokenizer_->IsSpecial(id)) << id;
  }
  ASSERT_TRUE(matcher->Consume(*tokenizer_->Encode("a", false, false)).ok());
  EXPECT_THAT(Allowed(*matcher), ::testing::Contains(tokenizer_->eos_ids().front()));
  EXPECT_FALSE(matcher->IsComplete());
  ASSERT_TRUE(matcher->Consume(*tokenizer_->Encode("b", false, false)).ok());
  for (const int32_t id : Allowed(*matcher)) EXPECT_TRUE(IsEnd(id)) << id;
}

TEST_F(GrammarTest, TokensAgainstTheGrammarAreRefused) {
  const auto matcher = Compile(GrammarKind::kRegex, "ab?");
  EXPECT_EQ(matcher->Consume(*tokenizer_->Encode("zebra", false, false)).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(GrammarTest, AMatcherRebuiltFromTheTokensAllowsTheSame) {
  const auto first = Compile(GrammarKind::kJsonSchema, kPerson);
  std::vector<int32_t> tokens;
  RandomText(*first, 7, &tokens);
  for (size_t cut = 0; cut < tokens.size(); cut += 5) {
    const absl::Span<const int32_t> all(tokens);
    const auto stepped = Compile(GrammarKind::kJsonSchema, kPerson);
    for (const int32_t id : all.first(cut)) {
      Allowed(*stepped);
      ASSERT_TRUE(stepped->Consume({id}).ok());
    }
    const auto rebuilt = Compile(GrammarKind::kJsonSchema, kPerson);
    ASSERT_TRUE(rebuilt->Consume(all.first(cut)).ok());
    EXPECT_EQ(Allowed(*stepped), Allowed(*rebuilt)) << cut;
  }
}

TEST_F(GrammarTest, WrongAndHostileSourcesAreRefusedInTime) {
  std::string nested, many = "{\"enum\":[", wide;
  for (int i = 0; i < 5000; ++i) nested += "{\"items\":";
  for (int i = 0; i < 30000; ++i) many += "\"k" + std::to_string(i * 7919) + "\",";
  many += "0]}";
  for (int i = 0; i < 8; ++i) wide += "(a|b)*a(a|b){90}";
  const std::pair<GrammarKind, std::string> sources[] = {
      {GrammarKind::kJsonSchema, "{"},
      {GrammarKind::kJsonSchema, "[]"},
      {GrammarKind::kJsonSchema, nested},
      {GrammarKind::kJsonSchema, R"({"$ref": "http://example.com/x"})"},
      {GrammarKind::kJsonSchema, R"({"type": "string", "pattern": "((a{1,500}){1,500}){1,500}"})"},
      {GrammarKind::kJsonSchema, many},
      {GrammarKind::kRegex, "(((a{900}){900}){900}){900}"},
      {GrammarKind::kRegex, "("},
      {GrammarKind::kRegex, std::string(100000, '(')},
      {GrammarKind::kRegex, std::string(300000, 'a')},
      {GrammarKind::kLark, "start: start start | \n"},
      {GrammarKind::kLark, "beginning: \"a\"\n"},
      {GrammarKind::kLark, "start: " + std::string(100000, '(')},
  };
  for (const auto& [kind, source] : sources) {
    const Clock::time_point begin = Clock::now();
    const auto matcher = compiler_->Compile(kind, source);
    const auto took = Clock::now() - begin;
    EXPECT_LT(std::chrono::duration<double>(took).count(), 3) << source.substr(0, 60);
    if (!matcher.ok()) {
      EXPECT_EQ(matcher.status().code(), absl::StatusCode::kInvalidArgument)
          << matcher.status() << source.substr(0, 60);
    }
  }
  EXPECT_FALSE(compiler_->Compile(GrammarKind::kJsonSchema, nested).ok());
  EXPECT_FALSE(compiler_->Compile(GrammarKind::kRegex, "(").ok());
  EXPECT_FALSE(compiler_->Compile(GrammarKind::kRegex, std::string(300000, 'a')).ok());
}

TEST_F(GrammarTest, AHostileGrammarCannotStallAStep) {
  const auto matcher = compiler_->Compile(
      GrammarKind::kLark, "start: a a a a a a a a\na: b | b a | a b\nb: /(x|xx|xxx)*/ \"x\"\n");
  if (!matcher.ok()) return;
  for (int step = 0; step < 50; ++step) {
    std::vector<uint32_t> mask;
    const Clock::time_point begin = Clock::now();
    const absl::Status status = (*matcher)->Mask(&mask, tokenizer_->vocab_size());
    EXPECT_LT(std::chrono::duration<double>(Clock::now() - begin).count(), 0.5) << step;
    if (!status.ok() || !(*matcher)->Consume(*tokenizer_->Encode("x", false, false)).ok()) return;
  }
}

TEST_F(GrammarTest, AMaskCostsLessThanAMillisecondAtTheMedian) {
  for (uint32_t seed = 0; seed < 10; ++seed) {
    const auto matcher = Compile(GrammarKind::kJsonSchema, kPerson);
    std::vector<int32_t> tokens;
    RandomText(*matcher, seed, &tokens);
  }
  const size_t count = mask_us_.size();
  const double median = MedianMaskUs();
  std::printf("%zu masks of %d tokens: median %.1f us, largest %.1f us\n", count,
              tokenizer_->vocab_size(), median, mask_us_.back());
  EXPECT_LT(median, 1000);
}

}  // namespace
}  // namespace baton::models::text
