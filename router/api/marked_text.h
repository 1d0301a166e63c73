// Text with marks in it that comes in pieces.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace baton::router {

// Splits text at marks and never lets a part of one through. Of several marks no one may be the
// beginning of another. Not thread-safe.
class MarkedText {
 public:
  void Push(absl::string_view text) { held_.append(text.data(), text.size()); }
  // Moves the text before the first of `marks` to `*before`, drops the mark and returns its number.
  // -1 where there is none: then `*before` is all that cannot be the beginning of one.
  int Take(absl::Span<const absl::string_view> marks, std::string* before);
  // Everything that is held.
  std::string TakeRest();
  // What is held; a reader that needs no marks takes from its front.
  absl::string_view held() const { return held_; }
  void Drop(size_t bytes) { held_.erase(0, bytes); }

 private:
  std::string held_;
};

// Text without the white space round it: that before it is dropped, that behind it is held until
// more text comes. Not thread-safe.
class TrimmedText {
 public:
  // `keep_leading`: white space before the text is part of it.
  explicit TrimmedText(bool keep_leading = false) : begun_(keep_leading) {}
  std::string Push(absl::string_view text);
  // The white space that waits.
  std::string TakeSpace();

 private:
  bool begun_;
  std::string space_;
};

absl::string_view WithoutSpace(absl::string_view text);

}  // namespace baton::router
