// The course of `baton bench serve`: find the server and its model, make prompts, send them,
// report.
#pragma once

#include <ostream>

#include "absl/status/statusor.h"
#include "bench/load/metrics.h"
#include "bench/load/serve_options.h"

namespace baton::bench {

// Writes the report to `out` and progress to the standard error stream. The API key is taken from
// OPENAI_API_KEY. An error: a flag is wrong, the server cannot be reached or the file cannot be
// written. Failed requests are no error of this function; they are counted in the metrics.
absl::StatusOr<LoadMetrics> RunServeBenchmark(const ServeOptions& options, std::ostream& out);

}  // namespace baton::bench
