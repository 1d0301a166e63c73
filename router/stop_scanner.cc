#include "router/stop_scanner.h"

#include <algorithm>

namespace baton::router {

StopScanner::StopScanner(std::vector<std::string> stops, bool show_match)
    : stops_(std::move(stops)), show_match_(show_match) {}

std::string StopScanner::Show(size_t bytes) {
  std::string shown = held_.substr(0, bytes);
  held_.erase(0, bytes);
  shown_bytes_ += static_cast<int64_t>(shown.size());
  return shown;
}

size_t StopScanner::PartialMatch() const {
  size_t longest = 0;
  const absl::string_view held(held_);
  for (const std::string& stop : stops_) {
    for (size_t length = std::min(held.size(), stop.size() - 1); length > longest; --length) {
      if (held.substr(held.size() - length) == absl::string_view(stop).substr(0, length)) {
        longest = length;
        break;
      }
    }
  }
  return longest;
}

std::string StopScanner::Push(absl::string_view text) {
  if (stopped()) return "";
  held_.append(text.data(), text.size());
  size_t first = std::string::npos;
  for (size_t i = 0; i < stops_.size(); ++i) {
    const size_t at = held_.find(stops_[i]);
    if (at == std::string::npos) continue;
    if (first == std::string::npos || at < first ||
        (at == first && stops_[i].size() > stops_[matched_].size())) {
      first = at;
      matched_ = static_cast<int>(i);
    }
  }
  if (stopped()) {
    std::string shown = Show(first + (show_match_ ? matched().size() : 0));
    held_.clear();
    return shown;
  }
  return Show(held_.size() - PartialMatch());
}

std::string StopScanner::Finish() { return stopped() ? "" : Show(held_.size()); }

}  // namespace baton::router
