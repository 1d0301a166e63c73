#include "engine/wire/request_params.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

namespace baton::engine {
namespace {

using testing::HasSubstr;

models::ModelConfig Config() {
  models::ModelConfig config;
  config.vocab_size = 100;
  config.context_length = 16;
  return config;
}

v1::SamplingParams Sampling() {
  v1::SamplingParams sampling;
  sampling.set_temperature(1);
  return sampling;
}

v1::StopParams Stop() {
  v1::StopParams stop;
  stop.set_max_tokens(4);
  return stop;
}

template <typename Result>
void ExpectRefused(const Result& result, const std::string& field) {
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << field;
  EXPECT_THAT(std::string(result.status().message()), HasSubstr(field));
}

TEST(RequestParamsTest, EverySamplingFieldOutOfRangeIsRefusedByName) {
  struct Case {
    const char* field;
    std::function<void(v1::SamplingParams&)> spoil;
  };
  const double nan = std::nan("");
  const Case cases[] = {
      {"temperature", [](auto& p) { p.set_temperature(-0.1); }},
      {"temperature", [nan](auto& p) { p.set_temperature(nan); }},
      {"temperature", [](auto& p) { p.set_temperature(INFINITY); }},
      {"top_p", [](auto& p) { p.set_top_p(1.1); }},
      {"top_p", [](auto& p) { p.set_top_p(-0.1); }},
      {"top_p", [nan](auto& p) { p.set_top_p(nan); }},
      {"top_k", [](auto& p) { p.set_top_k(-1); }},
      {"min_p", [](auto& p) { p.set_min_p(-0.1); }},
      {"min_p", [](auto& p) { p.set_min_p(1.5); }},
      {"frequency_penalty", [](auto& p) { p.set_frequency_penalty(2.1); }},
      {"presence_penalty", [](auto& p) { p.set_presence_penalty(-2.1); }},
      {"repetition_penalty", [](auto& p) { p.set_repetition_penalty(-1); }},
      {"repetition_penalty", [nan](auto& p) { p.set_repetition_penalty(nan); }},
      {"top_logprobs", [](auto& p) { p.set_top_logprobs(21); }},
      {"top_logprobs", [](auto& p) { p.set_top_logprobs(-1); }},
      {"logit_bias", [](auto& p) { (*p.mutable_logit_bias())[100] = 1; }},
      {"logit_bias", [](auto& p) { (*p.mutable_logit_bias())[-1] = 1; }},
      {"logit_bias", [](auto& p) { (*p.mutable_logit_bias())[5] = 101; }},
      {"logit_bias", [](auto& p) { (*p.mutable_logit_bias())[5] = NAN; }},
  };
  for (const Case& c : cases) {
    v1::SamplingParams sampling = Sampling();
    c.spoil(sampling);
    ExpectRefused(SamplingFromProto(sampling, 100), c.field);
  }
}

TEST(RequestParamsTest, SamplingFieldsArriveAsTheyWereSent) {
  v1::SamplingParams sampling = Sampling();
  sampling.set_temperature(0.5);
  sampling.set_top_p(0.9);
  sampling.set_top_k(7);
  sampling.set_min_p(0.1);
  sampling.set_seed(~uint64_t{0});
  sampling.set_frequency_penalty(0.25);
  sampling.set_presence_penalty(-0.5);
  sampling.set_repetition_penalty(1.5);
  sampling.set_top_logprobs(3);
  sampling.set_logprobs(true);
  (*sampling.mutable_logit_bias())[9] = -3;
  const auto params = SamplingFromProto(sampling, 100);
  ASSERT_TRUE(params.ok()) << params.status();
  EXPECT_EQ(params->temperature, 0.5);
  EXPECT_EQ(params->top_p, 0.9);
  EXPECT_EQ(params->top_k, 7);
  EXPECT_EQ(params->min_p, 0.1);
  EXPECT_EQ(params->seed, ~uint64_t{0});
  EXPECT_EQ(params->frequency_penalty, 0.25);
  EXPECT_EQ(params->presence_penalty, -0.5);
  EXPECT_EQ(params->repetition_penalty, 1.5);
  EXPECT_EQ(params->top_logprobs, 3);
  EXPECT_TRUE(params->logprobs);
  ASSERT_EQ(params->logit_bias.size(), 1u);
  EXPECT_EQ(params->logit_bias[0].id, 9);
  EXPECT_EQ(params->logit_bias[0].bias, -3);
}

TEST(RequestParamsTest, ZeroOnTheWireMeansOffWhereZeroWouldMakeNoSense) {
  const auto params = SamplingFromProto(v1::SamplingParams(), 100);
  ASSERT_TRUE(params.ok()) << params.status();
  EXPECT_EQ(params->top_p, 1.0);
  EXPECT_EQ(params->repetition_penalty, 1.0);
  EXPECT_EQ(params->temperature, 0.0);
}

TEST(RequestParamsTest, EveryStopFieldOutOfRangeIsRefusedByName) {
  v1::StopParams stop = Stop();
  stop.set_max_tokens(0);
  ExpectRefused(StopFromProto(stop, 100), "max_tokens");
  stop = Stop();
  stop.set_min_tokens(-1);
  ExpectRefused(StopFromProto(stop, 100), "min_tokens");
  stop = Stop();
  stop.add_stop_token_ids(100);
  ExpectRefused(StopFromProto(stop, 100), "stop_token_ids");
}

TEST(RequestParamsTest, ThePromptsLengthIdsAndFirstIndexAreChecked) {
  const auto make = [](const std::vector<int32_t>& prompt, int32_t first_index) {
    return MakeSequence(prompt, first_index, Sampling(), Stop(), Config());
  };
  ExpectRefused(make({}, 0), "prompt has 0 tokens, needs 1 to 15");
  ExpectRefused(make(std::vector<int32_t>(16, 1), 0), "prompt has 16 tokens, needs 1 to 15");
  ExpectRefused(make({1, 100}, 0), "token id 100");
  ExpectRefused(make({1, -1}, 0), "token id -1");
  ExpectRefused(make({1, 2}, 2), "first_index is 2, needs 0 to 1");
  ExpectRefused(make({1, 2}, -1), "first_index");
  const auto sequence = make({1, 2, 3}, 1);
  ASSERT_TRUE(sequence.ok()) << sequence.status();
  EXPECT_EQ((*sequence)->tokens, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ((*sequence)->prompt_tokens, 3);
  EXPECT_EQ((*sequence)->output_tokens(), 1);
  EXPECT_EQ((*sequence)->uncomputed(), 3);
}

TEST(RequestParamsTest, WhatIsReadOffAPromptIsChecked) {
  v1::SamplingParams sampling;
  v1::Embed embed;
  auto reading = ReadingFromProto(sampling, nullptr);
  ASSERT_TRUE(reading.ok()) << reading.status();
  EXPECT_EQ(reading->logprobs, -1);
  EXPECT_FALSE(reading->embeds());
  ExpectRefused(ReadingFromProto(sampling, &embed), "embed.pooling");
  embed.set_pooling(v1::POOLING_LAST);
  reading = ReadingFromProto(sampling, &embed);
  ASSERT_TRUE(reading.ok()) << reading.status();
  EXPECT_EQ(reading->pooling, Pooling::kLast);
  EXPECT_FALSE(reading->normalize);
  sampling.set_prompt_logprobs(0);
  ExpectRefused(ReadingFromProto(sampling, &embed), "prompt_logprobs");
  EXPECT_EQ(ReadingFromProto(sampling, nullptr)->logprobs, 0);
  sampling.set_prompt_logprobs(21);
  ExpectRefused(ReadingFromProto(sampling, nullptr), "prompt_logprobs");
}

TEST(RequestParamsTest, TokensCarryLogprobsOnlyWhenAskedFor) {
  SamplingParams params;
  const SampledToken token{.id = 5, .logprob = -0.5f, .top = {}};
  EXPECT_FALSE(TokenToProto(3, token, params).has_logprob());
  params.logprobs = true;
  const v1::Token proto =
      TokenToProto(3, {.id = 5, .logprob = -0.5f, .top = {{7, -0.1f}, {5, -0.5f}}}, params);
  EXPECT_EQ(proto.index(), 3);
  EXPECT_EQ(proto.id(), 5);
  EXPECT_EQ(proto.logprob().logprob(), -0.5f);
  ASSERT_EQ(proto.top_size(), 2);
  EXPECT_EQ(proto.top(0).id(), 7);
}

TEST(RequestParamsTest, FinishReasonsKeepTheirMeaning) {
  EXPECT_EQ(FinishReasonToProto(FinishReason::kNone), v1::FINISH_REASON_UNSPECIFIED);
  EXPECT_EQ(FinishReasonToProto(FinishReason::kStop), v1::FINISH_REASON_STOP);
  EXPECT_EQ(FinishReasonToProto(FinishReason::kLength), v1::FINISH_REASON_LENGTH);
}

}  // namespace
}  // namespace baton::engine
