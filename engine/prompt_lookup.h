// Drafts of what a sequence may say next, from what it has read and said: text that quotes its
// prompt (a summary, edited code) repeats whole runs of it (prompt lookup decoding, Saxena 2023).
// Drafts cost nothing to make; the engine computes them beside the next token and keeps those that
// it would have drawn anyway, so the output is the same with and without.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace baton::engine {

// What follows the latest earlier place where the last `ngram_max` .. `ngram_min` tokens stand, the
// longest match first: `count` tokens, or none where there is no such place. Where the text ends
// before them, it is taken to go on as it repeats itself. One pass over `tokens` for each length
// tried.
std::vector<int32_t> LookUpDraft(absl::Span<const int32_t> tokens, int32_t ngram_max,
                                 int32_t ngram_min, int64_t count);

// How many tokens to draft for one sequence, from how its latest drafts went. Not thread-safe.
//
// A draft that is not kept costs time, so a sequence that does not quote is asked less and less
// often: after a draft of which nothing was kept it pauses for 2, 4, ... 64 tokens, and begins
// again with short ones.
class DraftLength {
 public:
  // 0: none now. Called once for each token drawn without a draft, and before each draft.
  int32_t Next(int32_t most);
  // `kept` of the `drafted` tokens were what was drawn.
  void Learn(int64_t drafted, int64_t kept);

 private:
  static constexpr int32_t kFirst = 3;
  static constexpr int32_t kPauseMax = 64;

  int32_t length_ = kFirst;
  int32_t pause_ = 1;    // after the next failure
  int32_t waiting_ = 0;  // tokens until the next draft
};

}  // namespace baton::engine
