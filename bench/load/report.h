// What a run says at its end: the console block and the JSON file, in the shape of `vllm bench
// serve`.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "bench/load/load_run.h"
#include "bench/load/metrics.h"
#include "bench/load/serve_options.h"

namespace baton::bench {

// What the report knows beside the figures.
struct RunFacts {
  std::string model;
  std::string date;         // 20250131-235959
  std::string length_note;  // PromptSet::length_note
};

std::string ConsoleReport(const ServeOptions& options, const ParsedOptions& parsed,
                          const LoadMetrics& metrics, const LoadResult& result,
                          const RunFacts& facts);

// The file of --save-result; every request's own figures too with --save-detailed.
nlohmann::ordered_json ResultJson(const ServeOptions& options, const ParsedOptions& parsed,
                                  const LoadMetrics& metrics, const LoadResult& result,
                                  const RunFacts& facts);

// Its name, without folder.
std::string ResultFilename(const ServeOptions& options, const RunFacts& facts);

}  // namespace baton::bench
