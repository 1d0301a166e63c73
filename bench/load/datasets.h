// Makes the prompts of a run.
#pragma once

#include "absl/status/statusor.h"
#include "bench/load/prompt.h"
#include "bench/load/serve_options.h"
#include "bench/load/token_counter.h"

namespace baton::bench {

// `counter` may be null; then lengths are approximate and the set's length_note says so.
absl::StatusOr<PromptSet> MakePrompts(const ServeOptions& options, TokenCounter* counter);

}  // namespace baton::bench
