// Writing JSON by hand where it is hot, and keeping its strings valid.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/string_view.h"

namespace baton::router {

// Keeps the order of an object's keys: chat templates may depend on it.
using Json = nlohmann::ordered_json;

// Appends `text` as a JSON string with its quotes. Bytes that are not valid UTF-8 become U+FFFD.
void AppendJsonString(absl::string_view text, std::string* out);

// `text` with every maximal invalid UTF-8 sequence replaced by U+FFFD.
std::string ValidUtf8(absl::string_view text);

// The number of code points of a valid UTF-8 string.
int64_t CodePoints(absl::string_view text);

// The deepest nesting of arrays and objects in `text`, without parsing it; a guard before the
// parser.
int NestingDepth(absl::string_view text);

}  // namespace baton::router
