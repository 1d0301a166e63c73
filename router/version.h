// The version of the software, from the build.
#pragma once

#include "absl/strings/string_view.h"

namespace baton::router {

inline constexpr absl::string_view kVersion = BATON_VERSION;

}  // namespace baton::router
