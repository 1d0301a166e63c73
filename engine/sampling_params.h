// How tokens are drawn and when a sequence ends, in the engine's own terms.
#pragma once

#include <cstdint>
#include <vector>

namespace baton::engine {

struct LogitBias {
  int32_t id = 0;
  float bias = 0;  // added to the logit
};

struct SamplingParams {
  double temperature = 1.0;  // 0: greedy
  double top_p = 1.0;        // (0, 1]
  int32_t top_k = 0;         // 0: off
  double min_p = 0.0;        // [0, 1); 0: off
  uint64_t seed = 0;
  double frequency_penalty = 0.0;  // per occurrence among the output tokens
  double presence_penalty = 0.0;   // once for a token that is among the output tokens
  double repetition_penalty =
      1.0;  // divides or multiplies logits of tokens in prompt and output (Keskar et al. 2019)
  bool logprobs = false;     // report the log-probability of the drawn token
  int32_t top_logprobs = 0;  // and of the likeliest ones
  std::vector<LogitBias> logit_bias;
  std::vector<int32_t> allowed_ids;  // nothing else is drawn; empty: all
  std::vector<std::vector<int32_t>>
      bad_sequences;  // their last token is not drawn after the others
};

struct StopParams {
  int32_t max_tokens = 16;  // output tokens in all
  bool ignore_eos = false;
  std::vector<int32_t> stop_token_ids;
  int32_t min_tokens = 0;  // end tokens are not drawn before this many
};

enum class FinishReason : uint8_t { kNone, kStop, kLength };

}  // namespace baton::engine
