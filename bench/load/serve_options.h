// The flags of `baton bench serve`; names and defaults are those of `vllm bench serve` where it has
// them.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/load/metrics.h"

namespace CLI {
class App;
}

namespace baton::bench {

struct ServeOptions {
  std::string base_url;
  std::string host = "127.0.0.1";
  int port = 8000;
  std::string endpoint;  // empty: by backend
  std::string backend = "openai";
  std::string model;  // empty: asked from the server
  std::string served_model_name;
  std::string tokenizer;
  std::vector<std::string> header;

  std::string dataset_name = "random";
  std::string dataset_path;
  int64_t random_input_len = 1024;
  int64_t random_output_len = 128;
  double random_range_ratio = 0;
  int64_t random_prefix_len = 0;
  double trace_time_scale = 1;
  double trace_length_scale = 1;
  int num_prompts = 1000;

  std::string request_rate = "inf";
  double burstiness = 1;
  int max_concurrency = 0;  // 0: no limit
  int num_warmups = 0;
  double ready_check_timeout_s = 0;
  double request_timeout_s = 600;
  uint64_t seed = 0;

  bool ignore_eos = false;
  double temperature = 0;
  std::string extra_body;

  std::string percentile_metrics = "ttft,ttst,tpot,itl,e2el";
  std::string metric_percentiles = "50,90,95,99";
  std::vector<std::string> goodput;
  bool disable_progress = false;
  bool save_result = false;
  bool save_detailed = false;
  std::string result_dir = ".";
  std::string result_filename;
  std::string label;
  std::vector<std::string> metadata;

  bool is_chat() const { return backend == "openai-chat"; }
};

// What the textual flags mean, checked.
struct ParsedOptions {
  double requests_per_s = std::numeric_limits<double>::infinity();
  std::vector<std::string> latency_names;  // in the order of kLatencyNames
  std::vector<double> percents;
  Goodput goodput;
  std::vector<std::pair<std::string, std::string>> headers;
  std::vector<std::pair<std::string, std::string>> metadata;
};

void AddServeOptions(CLI::App& app, ServeOptions& options);

// InvalidArgument names the flag, what it has and what it may have.
absl::StatusOr<ParsedOptions> ParseOptions(const ServeOptions& options);

}  // namespace baton::bench
