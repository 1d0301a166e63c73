// One streamed answer on the terminal, with its times.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace baton::cli {

// Asks the first model of the server at `url`, prints the answer as it comes, then when its first
// and second token came, the time per output token, and which node did what, as far as the server
// says ("timings").
absl::Status AskOnce(const std::string& url, const std::string& question, int max_tokens);

}  // namespace baton::cli
