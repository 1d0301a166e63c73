#include "router/scorers/queue.h"

namespace baton::router {

double ExpectedPrefillSeconds(int64_t queued_tokens, int64_t prompt_tokens, double tokens_per_s) {
  return static_cast<double>(queued_tokens + prompt_tokens) / tokens_per_s;
}

double QueueScore(double expected_seconds) { return 1.0 / (1.0 + expected_seconds); }

}  // namespace baton::router
