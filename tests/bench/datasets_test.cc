#include "bench/load/datasets.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bench/load/trace_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace baton::bench {
namespace {

using testing::HasSubstr;

// Every space-separated word is a token, "because" two, commas one of their own.
class WordCounter final : public TokenCounter {
 public:
  absl::StatusOr<int64_t> Count(const std::string& text) override {
    int64_t count = 0;
    for (absl::string_view word : absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty())) {
      count += word == "because" ? 2 : 1;
      count += std::count(word.begin(), word.end(), ',');
    }
    return count;
  }
  std::string Source() const override { return "a test"; }
};

class TraceText {
 public:
  explicit TraceText(const std::string& text) : path_(absl::StrCat("/tmp/baton_trace_", getpid())) {
    std::ofstream(path_) << text;
  }
  ~TraceText() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(RandomDataset, PromptsHaveExactlyTheCountedLength) {
  ServeOptions options;
  options.random_input_len = 100;
  options.random_output_len = 8;
  options.num_prompts = 20;
  WordCounter counter;
  const auto set = MakePrompts(options, &counter);
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_THAT(set->length_note, HasSubstr("counted by a test"));
  std::set<std::string> different;
  for (const Prompt& prompt : set->prompts) {
    EXPECT_EQ(*counter.Count(prompt.text), 100);
    EXPECT_EQ(prompt.input_tokens, 100);
    EXPECT_EQ(prompt.output_tokens, 8);
    EXPECT_THAT(prompt.text, testing::Not(HasSubstr("because")))
        << "words of two tokens are left out";
    different.insert(prompt.text);
  }
  EXPECT_EQ(different.size(), 20u);
}

TEST(RandomDataset, LengthsVaryWithinTheRatioAndFollowTheSeed) {
  ServeOptions options;
  options.random_input_len = 100;
  options.random_output_len = 10;
  options.random_range_ratio = 0.5;
  options.num_prompts = 300;
  const auto set = MakePrompts(options, nullptr);
  ASSERT_TRUE(set.ok());
  EXPECT_THAT(set->length_note, HasSubstr("approximate"));
  std::set<int64_t> lengths;
  for (const Prompt& prompt : set->prompts) {
    EXPECT_GE(prompt.input_tokens, 50);
    EXPECT_LE(prompt.input_tokens, 150);
    EXPECT_GE(prompt.output_tokens, 5);
    EXPECT_LE(prompt.output_tokens, 15);
    lengths.insert(prompt.input_tokens);
  }
  EXPECT_GT(lengths.size(), 50u);
  EXPECT_EQ(MakePrompts(options, nullptr)->prompts[7].text, set->prompts[7].text);
  options.seed = 1;
  EXPECT_NE(MakePrompts(options, nullptr)->prompts[7].text, set->prompts[7].text);
}

TEST(RandomDataset, ThePrefixIsShared) {
  ServeOptions options;
  options.random_input_len = 10;
  options.random_prefix_len = 30;
  options.num_prompts = 3;
  WordCounter counter;
  const auto set = MakePrompts(options, &counter);
  ASSERT_TRUE(set.ok());
  const auto words = [](const std::string& text) {
    return std::vector<std::string>(absl::StrSplit(text, ' '));
  };
  const auto first = words(set->prompts[0].text);
  const auto second = words(set->prompts[1].text);
  ASSERT_EQ(first.size(), 40u);
  EXPECT_TRUE(std::equal(first.begin(), first.begin() + 30, second.begin()));
  EXPECT_FALSE(std::equal(first.begin(), first.end(), second.begin()));
}

TEST(TextDataset, IsVerseOfAboutTheLength) {
  ServeOptions options;
  options.dataset_name = "text";
  options.random_input_len = 200;
  options.num_prompts = 5;
  WordCounter counter;
  const auto set = MakePrompts(options, &counter);
  ASSERT_TRUE(set.ok());
  for (const Prompt& prompt : set->prompts) {
    EXPECT_NEAR(static_cast<double>(prompt.input_tokens), 200, 2);
    EXPECT_EQ(*counter.Count(prompt.text), prompt.input_tokens);
    EXPECT_THAT(prompt.text, HasSubstr("\nThe "));
  }
}

TEST(TraceDataset, MooncakeTimesLengthsAndSharedBlocks) {
  TraceText file(
      "{\"timestamp\": 1000, \"input_length\": 1100, \"output_length\": 5, \"hash_ids\": [1, 2, "
      "3]}\n"
      "{\"timestamp\": 3000, \"input_length\": 1000, \"output_length\": 0, \"hash_ids\": [1, 4]}\n"
      "{\"timestamp\": 9000, \"input_length\": 9, \"output_length\": 9}\n");
  ServeOptions options;
  options.dataset_name = "trace";
  options.dataset_path = file.path();
  options.num_prompts = 2;
  options.trace_time_scale = 0.5;
  const auto set = MakePrompts(options, nullptr);
  ASSERT_TRUE(set.ok()) << set.status();
  ASSERT_EQ(set->prompts.size(), 2u);
  EXPECT_TRUE(set->has_times);
  EXPECT_EQ(set->prompts[0].send_at_s, 0);
  EXPECT_EQ(set->prompts[1].send_at_s, 1);
  EXPECT_EQ(set->prompts[0].input_tokens, 1100);
  EXPECT_EQ(set->prompts[1].output_tokens, 1) << "nothing to generate is not a request";
  const std::vector<std::string> first = absl::StrSplit(set->prompts[0].text, ' ');
  const std::vector<std::string> second = absl::StrSplit(set->prompts[1].text, ' ');
  ASSERT_EQ(first.size(), 1100u);
  ASSERT_EQ(second.size(), 1000u);
  EXPECT_TRUE(std::equal(first.begin(), first.begin() + 512, second.begin()));
  EXPECT_FALSE(std::equal(first.begin() + 512, first.begin() + 600, second.begin() + 512));
}

TEST(TraceDataset, AzureCsvAndLengthScale) {
  TraceText file(
      "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
      "2023-11-16 18:17:03.9799600,400,10\r\n"
      "2023-11-16 18:17:04.0299600,3180,8\r\n");
  ServeOptions options;
  options.dataset_name = "trace";
  options.dataset_path = file.path();
  options.trace_length_scale = 0.1;
  const auto set = MakePrompts(options, nullptr);
  ASSERT_TRUE(set.ok()) << set.status();
  ASSERT_EQ(set->prompts.size(), 2u);
  EXPECT_NEAR(set->prompts[1].send_at_s, 0.05, 1e-6);
  EXPECT_EQ(set->prompts[0].input_tokens, 40);
  EXPECT_EQ(set->prompts[1].output_tokens, 1);
}

TEST(TraceDataset, ABadLineIsNamed) {
  EXPECT_EQ(ReadTrace("/nowhere/trace.jsonl", 10).status().code(), absl::StatusCode::kNotFound);
  for (const char* bad :
       {"{\"timestamp\": 1}", "nonsense",
        "{\"timestamp\":-1,\"input_length\":1,\"output_length\":1}", "[1]",
        "{\"timestamp\":0,\"input_length\":1,\"output_length\":1,\"hash_ids\":[\"x\"]}"}) {
    TraceText file(std::string("{\"timestamp\":0,\"input_length\":1,\"output_length\":1}\n") + bad +
                   "\n");
    const absl::Status status = ReadTrace(file.path(), 10).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr("line 2")) << bad;
  }
  TraceText empty("");
  EXPECT_THAT(std::string(ReadTrace(empty.path(), 10).status().message()),
              HasSubstr("no requests"));
}

}  // namespace
}  // namespace baton::bench
