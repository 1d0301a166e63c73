// The JSON that asks for one streamed answer.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "bench/load/prompt.h"
#include "bench/load/serve_options.h"

namespace baton::bench {

// The object of --extra-body. InvalidArgument: it is no JSON object.
absl::StatusOr<nlohmann::ordered_json> ParseExtraBody(const std::string& text);

// `model`: name that the server knows. Members of `extra_body` replace others.
std::string RequestBody(const ServeOptions& options, const nlohmann::ordered_json& extra_body,
                        const std::string& model, const Prompt& prompt);

}  // namespace baton::bench
