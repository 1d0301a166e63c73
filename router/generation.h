// One request for text, as both public APIs understand it, and what comes back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "proto/types.pb.h"
#include "router/api_error.h"
#include "router/timeline.h"
#include "router/trace_context.h"

namespace baton::router {

// What to continue. Exactly one of the three forms.
struct Prompt {
  enum class Kind : uint8_t { kText, kTokens, kChat };
  Kind kind = Kind::kText;
  std::string text;              // kText: the text; kChat: the messages as a JSON array
  std::vector<int32_t> ids;      // kTokens
  const char* field = "prompt";  // where a text or token ids came from, for errors
  // kChat: a JSON object of variables for the template ("tools", "enable_thinking").
  std::string variables = "{}";
  bool continue_final = false;  // kChat: the answer goes on with the text of the last message
};

struct Generation {
  std::string request_id;  // for logs and the client; never a key: two clients may send the same
  TraceContext trace;
  std::string model;             // empty: the served model
  std::vector<Prompt> prompts;   // at least one
  int32_t n = 1;                 // answers per prompt
  v1::SamplingParams sampling;   // without the seed
  std::optional<uint64_t> seed;  // absent: drawn by the flow; answer number i of n uses seed + i
  v1::StopParams stop;           // max_tokens 0: the rest of the context
  std::vector<std::string> stop_strings;
  bool include_stop = false;           // the text ends with the stop string that ended it
  std::string grammar_field;           // where sampling.grammar came from, for errors
  std::vector<std::string> bad_words;  // never in the answer
  bool add_special_tokens = true;      // BOS in front of plain text where the model wants it
  bool skip_special_tokens = true;     // control tokens are left out of the text
  bool add_generation_prompt = true;   // chat: ends with the header of the assistant's turn
  std::string user;                    // who asks: shares are fair between tenants
  int32_t priority = 0;                // lower goes first
  double ttft_slo_s = 0;               // 0: as configured
  double tpot_slo_s = 0;
  std::string cache_salt;  // cached blocks are shared with requests of equal salt only
  bool echo = false;       // the text starts with the prompt's
  // Nothing is to be generated: one token is drawn, as nodes do it, and not shown.
  bool score_only = false;
  std::optional<v1::Embed> embed;  // one vector for each prompt, and no tokens
};

// Tokens of one request so far.
struct Usage {
  int64_t prompt_tokens = 0;  // once per prompt, however many answers it has
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;
};

// Why a sequence stopped, beyond its FinishReason: nothing, a token id of stop_token_ids, or a stop
// string.
using StopReason = std::variant<std::monostate, int32_t, std::string>;

// One step of one answer.
struct Delta {
  int32_t choice = 0;             // prompt number * n + answer number
  std::string text;               // newly certain text; may be empty
  std::vector<v1::Token> tokens;  // tokens whose text has become certain
  // Of the first delta, where sampling.prompt_logprobs: the prompt's tokens from the second on.
  std::shared_ptr<const std::vector<v1::PromptToken>> prompt_scores;
  std::vector<float> embedding;  // of the only delta, where Generation::embed
  bool in_reasoning = false;     // chat: the prompt ended with the tag that opens reasoning
  std::shared_ptr<const std::vector<int32_t>> prompt;       // that the choice answers
  v1::FinishReason finish = v1::FINISH_REASON_UNSPECIFIED;  // set on the last delta of a choice
  StopReason stop_reason;
  Usage usage;  // of the whole request, this delta included
};

// Where the time of a sequence went, as the nodes and the router measured it. Negative: not known.
struct Timings {
  std::string prefill_node;
  std::string decode_node;               // empty when no decode was needed
  std::string placement;                 // why it was prefilled where it was: a PlaceReasonName
  double estimated_first_token_ms = -1;  // from dispatch, as the scheduler expected it
  double queue_ms = -1;                  // at the prefill node
  double prefill_ms = -1;                // from its first step to the first token
  double transfer_exposed_ms = -1;  // from the end of prefill compute to the acknowledged hand-over
  double decode_wait_ms = -1;       // from the hand-over to the first decode step
  double first_token_ms = -1;       // at the router, since the request arrived
  double decode_ms = -1;            // at the router, from the first to the last token
  Timeline timeline;                // all of it, without gaps
};

// How a request ended.
struct Outcome {
  std::optional<ApiError> error;
  Usage usage;
  Timings timings;  // of the sequence that ended last
};

// Where the answer goes. All calls come on the executor that the flow was started with; after
// OnDone, or after the flow was cancelled, none follows.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  virtual void OnDelta(Delta delta) = 0;
  // Exactly once, last.
  virtual void OnDone(const Outcome& outcome) = 0;
};

}  // namespace baton::router
