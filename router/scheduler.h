// Where a sequence runs: filter the nodes, score them in [0, 1], pick the best; then choose between
// a prefill node and prefill on the decode node by what each would cost. Pure functions; no
// network, no clock. docs/scheduling.md tells the whole with examples.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "router/learnt_line.h"

namespace baton::router {

// A prefill node as the router knows it at this moment, for one prompt.
struct PrefillCandidate {
  int64_t queued_tokens = 0;   // prompt tokens waiting there, with those that this router just sent
  int64_t prompts = 0;         // that this router sent there and that have no first token yet
  int64_t cached_tokens = 0;   // of this prompt, in its prefix cache
  double tokens_per_s = 0;     // as it reports; 0: not measured yet
  Line prefill;                // NodeRates::prefill
  Line transfer;               // NodeRates::transfer
  int64_t context_length = 0;  // the most tokens of one sequence
  bool available = true;       // not draining, and not tried before by this request
};

// A decode node as the router knows it at this moment, for one prompt.
struct DecodeCandidate {
  int64_t blocks_free = 0;  // with those that only its cache holds, less what was just asked for
  int64_t blocks_total = 0;
  int64_t sequences = 0;      // running and waiting, with those that this router just sent
  int64_t queued_tokens = 0;  // prompt tokens that this router sent there to be prefilled
  int64_t prompts = 0;        // that have them
  int64_t cached_tokens = 0;  // of this prompt, in its prefix cache
  int32_t block_tokens = 32;
  Line step;      // NodeRates::step
  Line prefill;   // NodeRates::prefill, of prompts that it computed itself
  Line transfer;  // NodeRates::transfer
  int64_t context_length = 0;
  bool available = true;
};

// Whether prompts go to prefill nodes.
enum class Disaggregate : uint8_t { kAuto, kAlways, kNever };

// The weights of the scorers, 0 and up, and what bounds the choice. Configuration: SchedulerConfig
// in proto/config.proto.
struct SchedulePolicy {
  Disaggregate disaggregate = Disaggregate::kAlways;
  double latency_weight = 1;
  double queue_weight = 0.1;
  double prefix_weight = 0.2;
  double free_blocks_weight = 0.5;
  double batch_weight = 0.5;
  double headroom_weight = 0.5;
  // What a second of prefill on a decode node costs for each sequence that runs there, in seconds
  // of waiting for a first token.
  double interference = 1;
  int64_t local_tokens_max = 2048;  // uncached tokens that a decode node computes while a prefill
                                    // node is there
};

// What is to be placed.
struct Placement {
  int64_t prompt_tokens = 0;
  bool decodes = true;             // more than one token is wanted
  int64_t kv_bytes_per_token = 0;  // of a hand-over
  double ttft_slo_s = 0;           // 0: none
  double tpot_slo_s = 0;           // 0: none
  uint64_t turn = 0;               // grows with each request; equal scores are shared out by it
};

// Why a sequence is prefilled where it is.
enum class PlaceReason : uint8_t {
  // On a prefill node:
  kAlways,          // configured
  kPrefillCheaper,  // the estimate says so
  kLongPrompt,      // more uncached tokens than local_tokens_max
  kNotMeasured,     // nothing is known of prefill on the decode nodes
  // On the decode node:
  kNever,          // configured
  kNoPrefillNode,  // none is there that could take the prompt
  kShortRest,      // cheaper even if the prefill node were idle
  kPrefillBusy,    // cheaper because of what waits at the prefill nodes
  kProbe,          // a few tokens, to measure how fast the decode node is
};
inline constexpr size_t kPlaceReasons = 9;
absl::string_view PlaceReasonName(PlaceReason reason);
bool IsLocal(PlaceReason reason);

// Nodes are indices into the candidates. With neither, no node passes the filter.
struct Decision {
  std::optional<size_t> prefill;
  std::optional<size_t> decode;
  PlaceReason reason = PlaceReason::kAlways;
  // As estimated: from now to the first token, and between tokens then; negative: not known.
  double ttft_s = -1;
  double tpot_s = -1;
  double queue_s = 0;         // of it, until prefill begins
  double work_s = 0;          // of it, computing the prompt
  int64_t prompts_ahead = 0;  // that this router sent to the node that would compute it
  double local_cost_s = -1;   // what was compared, where it was
  double remote_cost_s = -1;
};

// Rate assumed where no candidate has been measured.
inline constexpr double kUnmeasuredTokensPerS = 1000.0;
// Uncached tokens of the prompts that measure a decode node's prefill.
inline constexpr int64_t kProbeTokens = 64;

// The whole decision. Filters: available, prompt with one token of output within the context, and
// for decode within the pool. A prefill node that has not been measured counts as fast as the
// fastest measured one, so that it gets work to be measured with.
Decision Decide(const SchedulePolicy& policy, const Placement& placement,
                absl::Span<const PrefillCandidate> prefill,
                absl::Span<const DecodeCandidate> decode);

// The prefill node alone, for a hand-over to `decode` (null: none follows).
std::optional<size_t> PickPrefill(const SchedulePolicy& policy, const Placement& placement,
                                  absl::Span<const PrefillCandidate> candidates,
                                  const DecodeCandidate* decode);

}  // namespace baton::router
