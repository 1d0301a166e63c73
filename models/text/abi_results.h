// Between the C ABI of the Rust library and C++: views in, strings and statuses out.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "models/text/text_abi.h"

namespace baton::models::text {

BatonBytes View(absl::string_view text);
// The text of a buffer, which is given back.
std::string TakeString(BatonBuffer buffer);
// The status of a failed call: `context`, then the message of the buffer, which is given back.
absl::Status TakeError(BatonTextCode code, absl::string_view context, BatonBuffer buffer);

}  // namespace baton::models::text
