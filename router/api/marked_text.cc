#include "router/api/marked_text.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"

namespace baton::router {

int MarkedText::Take(absl::Span<const absl::string_view> marks, std::string* before) {
  size_t first = std::string::npos;
  int found = -1;
  for (size_t i = 0; i < marks.size(); ++i) {
    const size_t at = held_.find(marks[i].data(), 0, marks[i].size());
    if (at < first) {
      first = at;
      found = static_cast<int>(i);
    }
  }
  if (found >= 0) {
    *before = held_.substr(0, first);
    held_.erase(0, first + marks[found].size());
    return found;
  }
  size_t keep = 0;
  for (const absl::string_view mark : marks) {
    for (size_t bytes = std::min(mark.size() - 1, held_.size()); bytes > keep; --bytes) {
      if (held_.compare(held_.size() - bytes, bytes, mark.data(), bytes) == 0) keep = bytes;
    }
  }
  *before = held_.substr(0, held_.size() - keep);
  held_.erase(0, before->size());
  return -1;
}

std::string MarkedText::TakeRest() { return std::exchange(held_, {}); }

std::string TrimmedText::Push(absl::string_view text) {
  if (!begun_) text = absl::StripLeadingAsciiWhitespace(text);
  if (text.empty()) return "";
  begun_ = true;
  const absl::string_view body = absl::StripTrailingAsciiWhitespace(text);
  std::string out;
  if (!body.empty()) {
    out = std::exchange(space_, {});
    out.append(body.data(), body.size());
  }
  space_.append(text.data() + body.size(), text.size() - body.size());
  return out;
}

std::string TrimmedText::TakeSpace() { return std::exchange(space_, {}); }

absl::string_view WithoutSpace(absl::string_view text) { return absl::StripAsciiWhitespace(text); }

}  // namespace baton::router
