// Reads recorded request traces.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace baton::bench {

struct TraceEntry {
  double at_s = 0;  // relative to the first entry
  int64_t input_tokens = 0;
  int64_t output_tokens = 0;
  // Ids of the prompt's blocks of 512 tokens; prompts with equal leading ids share that prefix. May
  // be empty.
  std::vector<int64_t> block_ids;
};

inline constexpr int64_t kTraceBlockTokens = 512;

// The first `limit` entries in order of time. Formats, told apart by content: Mooncake JSON lines
// (timestamp in ms, input_length, output_length, hash_ids) and Azure CSV
// (TIMESTAMP,ContextTokens,GeneratedTokens). NotFound: no such file. InvalidArgument names file,
// line and problem.
absl::StatusOr<std::vector<TraceEntry>> ReadTrace(const std::string& path, size_t limit);

}  // namespace baton::bench
