#include "engine/prompt_lookup.h"

#include <algorithm>

namespace baton::engine {

std::vector<int32_t> LookUpDraft(absl::Span<const int32_t> tokens, int32_t ngram_max,
                                 int32_t ngram_min, int64_t count) {
  const int64_t length = static_cast<int64_t>(tokens.size());
  if (count < 1) return {};
  for (int64_t n = std::min<int64_t>(ngram_max, length - 1); n >= ngram_min; --n) {
    const absl::Span<const int32_t> ending = tokens.last(static_cast<size_t>(n));
    for (int64_t at = length - n - 1; at >= 0; --at) {
      if (tokens[at + n - 1] != ending.back()) continue;
      if (!std::equal(ending.begin(), ending.end(), tokens.begin() + at)) continue;
      std::vector<int32_t> draft;
      for (int64_t i = at + n; static_cast<int64_t>(draft.size()) < count; ++i) {
        draft.push_back(i < length ? tokens[i] : draft[i - length]);
      }
      return draft;
    }
  }
  return {};
}

int32_t DraftLength::Next(int32_t most) {
  if (waiting_ > 0) {
    --waiting_;
    return 0;
  }
  return std::min(length_, most);
}

void DraftLength::Learn(int64_t drafted, int64_t kept) {
  if (kept == 0) {
    pause_ = std::min(pause_ * 2, kPauseMax);
    waiting_ = pause_;
    length_ = kFirst;
    return;
  }
  pause_ = 1;
  // As long as all was kept, twice as many; otherwise a little more than what was.
  length_ =
      static_cast<int32_t>(kept == drafted ? std::max<int64_t>(2 * drafted, kFirst) : kept + 1);
}

}  // namespace baton::engine
