// Bytes to valid UTF-8. Each maximal incomplete sequence becomes one U+FFFD, as Unicode (chapter 3,
// "U+FFFD substitution of maximal subparts") and Python's errors="replace" have it.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace baton::models::text {

// Appends `bytes` to `text`. With `at_end` false, a valid but incomplete character at the end is
// left alone, because more bytes may follow. Returns how many bytes were consumed: all of them when
// `at_end`, otherwise all but at most 3.
size_t AppendUtf8(absl::string_view bytes, bool at_end, std::string& text);

}  // namespace baton::models::text
