// Finds stop strings in a stream of text and never lets any part of one through.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace baton::router {

// Text goes in as it becomes certain and comes out once no stop string can begin in it any more.
// Not thread-safe.
class StopScanner {
 public:
  // `stops` are not empty. Of several that match, the one that starts first wins, then the longest.
  // `show_match`: the match itself is shown before the end.
  StopScanner(std::vector<std::string> stops, bool show_match = false);

  // Returns the text that may be shown; what might be the beginning of a stop string is held back.
  // After a match returns the text before it (and the match, where it is shown), and stopped() is
  // true; further text is dropped.
  std::string Push(absl::string_view text);
  // The stream ended: returns what was held back.
  std::string Finish();

  bool stopped() const { return matched_ >= 0; }
  // REQUIRES: stopped().
  const std::string& matched() const { return stops_[matched_]; }
  // Bytes returned so far.
  int64_t shown_bytes() const { return shown_bytes_; }

 private:
  std::string Show(size_t bytes);
  // Length of the longest end of held_ that is the beginning of a stop string.
  size_t PartialMatch() const;

  std::vector<std::string> stops_;
  bool show_match_;
  std::string held_;
  int matched_ = -1;
  int64_t shown_bytes_ = 0;
};

}  // namespace baton::router
