// Structural tags: free text in which what stands between certain marks keeps to a schema.
#pragma once

#include "absl/status/statusor.h"
#include "router/json_text.h"

namespace baton::router {

inline constexpr size_t kMaxStructures = 256;

// The Lark grammar of {"structures": [{"begin", "schema", "end"}], "triggers": [...]}: once a
// trigger is written, one of the structures that begin with it must follow. InvalidArgument says
// what is wrong, as the end of a sentence that begins with the field's name.
absl::StatusOr<std::string> StructuralTagLark(const Json& tag);

}  // namespace baton::router
