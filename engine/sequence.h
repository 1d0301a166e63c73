// One prompt with its output, as the engine holds it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/prompt_lookup.h"
#include "engine/prompt_reading.h"
#include "engine/sampling_params.h"
#include "engine/token_constraint.h"
#include "kvcache/block_table.h"
#include "kvcache/prefix_cache.h"

namespace baton::engine {

class StepListener;

// Owned by whoever submits it, then by the engine's thread, then by the listener's OnFinished.
struct Sequence {
  uint64_t id = 0;              // unique in the engine, for Cancel
  std::vector<int32_t> tokens;  // prompt, then output
  int64_t prompt_tokens = 0;
  int64_t computed = 0;  // tokens whose keys and values are in the blocks
  kvcache::BlockTable blocks;
  std::string cache_salt;  // its blocks are shared with sequences of equal salt only
  std::vector<kvcache::BlockKey> block_keys;  // of the first full blocks of `tokens`
  int32_t blocks_filed = 0;     // of `blocks`, those that the prefix cache was offered
  int32_t blocks_expected = 0;  // that the cache would give; valid while there are no blocks
  int64_t cached_tokens = 0;    // found in the cache before the first step
  SamplingParams sampling;
  StopParams stop;
  PromptReading reading;  // where it embeds, the sequence ends with its prompt and draws nothing
  int32_t first_index =
      0;  // output tokens at the end of the prompt (a sequence resumed from elsewhere)
  bool first_token_only =
      false;  // a prefill node's sequence: ends after one token, whatever `stop` says
  std::unique_ptr<TokenConstraint> constraint;  // null: any output
  int32_t constraint_tokens = 0;                // output tokens that the constraint was told
  std::shared_ptr<StepListener> listener;
  bool speculate = true;  // drafts may be made for it, where the engine makes any
  DraftLength draft_length;

  int32_t preemptions = 0;
  absl::Time submitted;   // when the engine took it, unless it was set before
  absl::Time first_step;  // when its first step started
  absl::Time last_token;  // when its latest token was drawn

  int64_t length() const { return static_cast<int64_t>(tokens.size()); }
  int64_t uncomputed() const { return length() - computed; }
  // Output tokens so far, those before a resumption included.
  int32_t output_tokens() const {
    return first_index + static_cast<int32_t>(length() - prompt_tokens);
  }
};

}  // namespace baton::engine
