#include "engine/wire/request_params.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::engine {
namespace {

absl::Status CheckNumber(absl::string_view field, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();  // false for NaN
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, ", needs ", low, " to ", high));
}

absl::Status CheckId(absl::string_view field, int64_t id, int32_t vocab_size) {
  if (id >= 0 && id < vocab_size) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": token id ", id, " is outside the vocabulary of ", vocab_size));
}

constexpr double kTinyMax = 1.0 - 1e-12;
constexpr int32_t kTopLogprobsMax = 20;

}  // namespace

absl::StatusOr<SamplingParams> SamplingFromProto(const v1::SamplingParams& params,
                                                 int32_t vocab_size) {
  BATON_RETURN_IF_ERROR(CheckNumber("temperature", params.temperature(), 0, 100));
  BATON_RETURN_IF_ERROR(CheckNumber("top_p", params.top_p(), 0, 1));
  BATON_RETURN_IF_ERROR(CheckNumber("top_k", params.top_k(), 0, INT32_MAX));
  BATON_RETURN_IF_ERROR(CheckNumber("min_p", params.min_p(), 0, 1));
  BATON_RETURN_IF_ERROR(CheckNumber("frequency_penalty", params.frequency_penalty(), -2, 2));
  BATON_RETURN_IF_ERROR(CheckNumber("presence_penalty", params.presence_penalty(), -2, 2));
  BATON_RETURN_IF_ERROR(CheckNumber("repetition_penalty", params.repetition_penalty(), 0, 100));
  BATON_RETURN_IF_ERROR(CheckNumber("top_logprobs", params.top_logprobs(), 0, kTopLogprobsMax));
  SamplingParams result;
  result.temperature = params.temperature();
  result.top_p = params.top_p() == 0 ? 1.0 : params.top_p();
  result.top_k = params.top_k();
  result.min_p = params.min_p() < kTinyMax ? params.min_p() : kTinyMax;
  result.seed = params.seed();
  result.frequency_penalty = params.frequency_penalty();
  result.presence_penalty = params.presence_penalty();
  result.repetition_penalty = params.repetition_penalty() == 0 ? 1.0 : params.repetition_penalty();
  result.logprobs = params.logprobs();
  result.top_logprobs = params.top_logprobs();
  for (const auto& [id, bias] : params.logit_bias()) {
    BATON_RETURN_IF_ERROR(CheckId("logit_bias", id, vocab_size));
    BATON_RETURN_IF_ERROR(CheckNumber("logit_bias", bias, -100, 100));
    result.logit_bias.push_back({id, bias});
  }
  for (const int32_t id : params.allowed_token_ids()) {
    BATON_RETURN_IF_ERROR(CheckId("allowed_token_ids", id, vocab_size));
    result.allowed_ids.push_back(id);
  }
  for (const v1::TokenSequence& bad : params.bad_sequences()) {
    for (const int32_t id : bad.ids()) {
      BATON_RETURN_IF_ERROR(CheckId("bad_sequences", id, vocab_size));
    }
    result.bad_sequences.emplace_back(bad.ids().begin(), bad.ids().end());
  }
  return result;
}

absl::StatusOr<StopParams> StopFromProto(const v1::StopParams& params, int32_t vocab_size) {
  BATON_RETURN_IF_ERROR(CheckNumber("max_tokens", params.max_tokens(), 1, INT32_MAX));
  BATON_RETURN_IF_ERROR(CheckNumber("min_tokens", params.min_tokens(), 0, INT32_MAX));
  StopParams result;
  result.max_tokens = params.max_tokens();
  result.ignore_eos = params.ignore_eos();
  result.min_tokens = params.min_tokens();
  for (const int32_t id : params.stop_token_ids()) {
    BATON_RETURN_IF_ERROR(CheckId("stop_token_ids", id, vocab_size));
    result.stop_token_ids.push_back(id);
  }
  return result;
}

absl::Status CheckPrompt(const int32_t* ids, int64_t count, int32_t first_index,
                         const models::ModelConfig& config) {
  if (count < 1 || count >= config.context_length) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt has ", count, " tokens, needs 1 to ", config.context_length - 1));
  }
  if (first_index < 0 || first_index >= count) {
    return absl::InvalidArgumentError(
        absl::StrCat("first_index is ", first_index, ", needs 0 to ", count - 1));
  }
  for (int64_t i = 0; i < count; ++i) {
    BATON_RETURN_IF_ERROR(CheckId("prompt", ids[i], config.vocab_size));
  }
  return absl::OkStatus();
}

absl::StatusOr<PromptReading> ReadingFromProto(const v1::SamplingParams& params,
                                               const v1::Embed* embed) {
  PromptReading reading;
  if (params.has_prompt_logprobs()) {
    BATON_RETURN_IF_ERROR(
        CheckNumber("prompt_logprobs", params.prompt_logprobs(), 0, kTopLogprobsMax));
    reading.logprobs = params.prompt_logprobs();
  }
  if (embed == nullptr) return reading;
  if (reading.logprobs >= 0) {
    return absl::InvalidArgumentError("prompt_logprobs: an embedding has none");
  }
  if (embed->pooling() != v1::POOLING_MEAN && embed->pooling() != v1::POOLING_LAST) {
    return absl::InvalidArgumentError(absl::StrCat("embed.pooling is ", embed->pooling(),
                                                   ", needs POOLING_MEAN or POOLING_LAST"));
  }
  reading.pooling = embed->pooling() == v1::POOLING_MEAN ? Pooling::kMean : Pooling::kLast;
  reading.normalize = embed->normalize();
  return reading;
}

v1::PromptLogprobs PromptLogprobsToProto(int64_t first, const std::vector<PromptToken>& tokens) {
  v1::PromptLogprobs result;
  result.set_first(static_cast<int32_t>(first));
  for (const PromptToken& token : tokens) {
    v1::PromptToken* out = result.add_tokens();
    out->mutable_logprob()->set_id(token.token.id);
    out->mutable_logprob()->set_logprob(token.token.logprob);
    out->set_rank(token.rank);
    for (const TokenLogprob& other : token.token.top) {
      v1::TokenLogprob* top = out->add_top();
      top->set_id(other.id);
      top->set_logprob(other.logprob);
    }
  }
  return result;
}

v1::Token TokenToProto(int32_t index, const SampledToken& token, const SamplingParams& params) {
  v1::Token result;
  result.set_index(index);
  result.set_id(token.id);
  if (params.logprobs || params.top_logprobs > 0) {
    result.mutable_logprob()->set_id(token.id);
    result.mutable_logprob()->set_logprob(token.logprob);
  }
  for (const TokenLogprob& other : token.top) {
    v1::TokenLogprob* top = result.add_top();
    top->set_id(other.id);
    top->set_logprob(other.logprob);
  }
  return result;
}

v1::FinishReason FinishReasonToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return v1::FINISH_REASON_UNSPECIFIED;
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

}  // namespace baton::engine
