// Which node next: filter, then score in [0, 1], then pick the best. Pure functions; no network, no
// clock.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/types/span.h"

namespace baton::router {

// A prefill node as the router knows it at this moment.
struct PrefillCandidate {
  int64_t queued_tokens = 0;   // prompt tokens waiting there, with those that this router just sent
  double tokens_per_s = 0;     // measured; 0: not yet
  int64_t context_length = 0;  // the most tokens of one sequence
  bool available = true;       // not draining, and not tried before by this request
};

// A decode node as the router knows it at this moment.
struct DecodeCandidate {
  int64_t blocks_free = 0;  // less those that this router just asked for
  int64_t blocks_total = 0;
  int64_t sequences = 0;  // running and waiting, with those that this router just sent
  int32_t block_tokens = 32;
  int64_t context_length = 0;
  bool available = true;
};

// Rate assumed where no candidate has been measured.
inline constexpr double kUnmeasuredTokensPerS = 1000.0;

// The node with the least expected wait, or nullopt when none passes the filter (available, prompt
// fits the context with one token of output). Equal scores are shared out by `turn`, a number that
// grows with each request. A node that has not been measured counts as fast as the fastest measured
// one, so that it gets work to be measured with.
std::optional<size_t> PickPrefill(absl::Span<const PrefillCandidate> candidates,
                                  int64_t prompt_tokens, uint64_t turn);

// The node with the most free blocks and the shortest batch, half each, or nullopt when none passes
// the filter (available, prompt fits context and pool). Whether there is room now is the node's
// answer to give.
std::optional<size_t> PickDecode(absl::Span<const DecodeCandidate> candidates,
                                 int64_t prompt_tokens, uint64_t turn);

}  // namespace baton::router
