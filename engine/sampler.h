// From a row of logits to a token.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/sampling_params.h"

namespace baton::engine {

struct TokenLogprob {
  int32_t id = 0;
  float logprob =
      0;  // natural log of the model's own distribution, before penalties and temperature
};

struct SampledToken {
  int32_t id = 0;
  float logprob = 0;              // set when params.logprobs
  std::vector<TokenLogprob> top;  // params.top_logprobs of them, best first
};

// What drawing depends on besides the logits.
struct SampleContext {
  absl::Span<const int32_t> tokens;  // prompt and output so far
  int64_t prompt_tokens = 0;         // how many of them are the prompt
  int64_t position = 0;  // absolute position of the token to draw: keys the random number
  absl::Span<const int32_t> banned_ids;  // never drawn here (end tokens before min_tokens)
  absl::Span<const uint32_t> mask;  // bit id % 32 of word id / 32: may be drawn here; empty: all
};

// Draws a token: penalties, bias, temperature, top-k, top-p, min-p, then one uniform number that
// depends on nothing but (seed, position), so that a continuation needs no hidden state. Greedy
// takes the lowest id among equals. The same inputs give the same token on every machine. Internal
// when a logit is not finite (names its index), InvalidArgument when every token is banned.
absl::StatusOr<SampledToken> Sample(absl::Span<const float> logits, const SamplingParams& params,
                                    const SampleContext& context);

// `id` with its log-probability by the model's own distribution, and the `top_count` likeliest
// tokens. Internal as for Sample.
absl::StatusOr<SampledToken> Score(absl::Span<const float> logits, int32_t id, int32_t top_count);

// The place of `id` among all tokens, the likeliest first: 1 to logits.size().
int32_t RankOf(absl::Span<const float> logits, int32_t id);

}  // namespace baton::engine
