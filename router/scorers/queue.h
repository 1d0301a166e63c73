// How soon a prefill node would start on a prompt.
#pragma once

#include <cstdint>

namespace baton::router {

// Seconds until `queued_tokens` waiting tokens and `prompt_tokens` new ones are computed at
// `tokens_per_s`. REQUIRES: tokens_per_s > 0.
double ExpectedPrefillSeconds(int64_t queued_tokens, int64_t prompt_tokens, double tokens_per_s);

// 1 for no wait, falling towards 0 as the wait grows: 1 / (1 + seconds).
double QueueScore(double expected_seconds);

}  // namespace baton::router
