#include "bench/load/serve_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace baton::bench {
namespace {

const CLI::Range kPositiveCount(1, 10'000'000);
const CLI::Range kCount(0, 10'000'000);

void AddServerOptions(CLI::App& app, ServeOptions& options) {
  app.add_option("--base-url", options.base_url,
                 "http://host[:port][/path]; instead of --host and --port")
      ->group("Server");
  app.add_option("--host", options.host, "name or address")->capture_default_str()->group("Server");
  app.add_option("--port", options.port, "TCP port")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str()
      ->group("Server");
  app.add_option("--backend", options.backend, "openai (completions) or openai-chat")
      ->check(CLI::IsMember({"openai", "openai-chat", "vllm"}))
      ->capture_default_str()
      ->group("Server");
  app.add_option("--endpoint", options.endpoint, "default: /v1/completions or /v1/chat/completions")
      ->group("Server");
  app.add_option("--model", options.model, "default: the first of GET /v1/models")->group("Server");
  app.add_option("--served-model-name", options.served_model_name,
                 "name in the requests; default: --model")
      ->group("Server");
  app.add_option("--tokenizer", options.tokenizer,
                 "GGUF file whose tokenizer counts prompts; default: the server's /tokenize")
      ->group("Server");
  app.add_option("--header", options.header, "KEY=VALUE for every request; may be repeated")
      ->group("Server");
  app.add_option("--ready-check-timeout-sec", options.ready_check_timeout_s,
                 "wait this long for the server to answer")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str()
      ->group("Server");
  app.add_option("--request-timeout-sec", options.request_timeout_s,
                 "a request that takes longer has failed")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str()
      ->group("Server");
}

void AddDatasetOptions(CLI::App& app, ServeOptions& options) {
  app.add_option("--dataset-name", options.dataset_name, "random words, text (verse) or trace")
      ->check(CLI::IsMember({"random", "text", "sonnet", "trace"}))
      ->capture_default_str()
      ->group("Dataset");
  app.add_option("--dataset-path", options.dataset_path, "trace: Mooncake .jsonl or Azure .csv")
      ->group("Dataset");
  app.add_option("--random-input-len", options.random_input_len, "prompt tokens (random, text)")
      ->check(kPositiveCount)
      ->capture_default_str()
      ->group("Dataset");
  app.add_option("--random-output-len", options.random_output_len, "max_tokens (random, text)")
      ->check(kPositiveCount)
      ->capture_default_str()
      ->group("Dataset");
  app.add_option("--random-range-ratio", options.random_range_ratio,
                 "lengths vary uniformly by this part up and down")
      ->check(CLI::Range(0.0, 0.999))
      ->capture_default_str()
      ->group("Dataset");
  app.add_option("--random-prefix-len", options.random_prefix_len,
                 "tokens in front that all prompts share")
      ->check(kCount)
      ->capture_default_str()
      ->group("Dataset");
  app.add_option("--trace-time-scale", options.trace_time_scale,
                 "multiplies the trace's times; 0.5 is twice as fast")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str()
      ->group("Dataset");
  app.add_option("--trace-length-scale", options.trace_length_scale,
                 "multiplies the trace's lengths")
      ->check(CLI::Range(1e-6, 1e3))
      ->capture_default_str()
      ->group("Dataset");
  app.add_option("--num-prompts", options.num_prompts, "requests; for a trace at most")
      ->check(kPositiveCount)
      ->capture_default_str()
      ->group("Dataset");
  app.add_option("--seed", options.seed, "of prompts, lengths and arrival times")
      ->capture_default_str()
      ->group("Dataset");
}

void AddLoadOptions(CLI::App& app, ServeOptions& options) {
  app.add_option("--request-rate", options.request_rate,
                 "requests a second (open loop), or inf: all at once")
      ->capture_default_str()
      ->group("Load");
  app.add_option("--burstiness", options.burstiness,
                 "shape of the gaps: 1 Poisson, less is burstier")
      ->check(CLI::Range(1e-3, 1e6))
      ->capture_default_str()
      ->group("Load");
  app.add_option("--max-concurrency", options.max_concurrency,
                 "requests in flight at most; 0: no limit")
      ->check(kCount)
      ->capture_default_str()
      ->group("Load");
  app.add_option("--num-warmups", options.num_warmups, "requests sent first and not measured")
      ->check(kCount)
      ->capture_default_str()
      ->group("Load");
  app.add_flag("--ignore-eos", options.ignore_eos, "generate max_tokens whatever the model says")
      ->group("Load");
  app.add_option("--temperature", options.temperature, "sampling temperature")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str()
      ->group("Load");
  app.add_option("--extra-body", options.extra_body, "JSON object merged into every request")
      ->group("Load");
}

void AddReportOptions(CLI::App& app, ServeOptions& options) {
  app.add_option("--percentile-metrics", options.percentile_metrics,
                 "of ttft, ttst, tpot, itl, e2el")
      ->capture_default_str()
      ->group("Report");
  app.add_option("--metric-percentiles", options.metric_percentiles, "percentiles")
      ->capture_default_str()
      ->group("Report");
  app.add_option("--goodput", options.goodput,
                 "limits in ms: ttft:200 tpot:50 e2el:3000 (also ttst)")
      ->group("Report");
  app.add_flag("--disable-tqdm", options.disable_progress, "show no progress")->group("Report");
  app.add_flag("--save-result", options.save_result, "write a JSON file")->group("Report");
  app.add_flag("--save-detailed", options.save_detailed,
               "with every request's times and text in it")
      ->group("Report");
  app.add_option("--result-dir", options.result_dir, "folder of that file")
      ->capture_default_str()
      ->group("Report");
  app.add_option("--result-filename", options.result_filename,
                 "default: {label}-{rate}qps[-concurrencyN]-{model}-{date}.json")
      ->group("Report");
  app.add_option("--label", options.label, "default: the backend")->group("Report");
  app.add_option("--metadata", options.metadata, "KEY=VALUE pairs for the file")->group("Report");
}

absl::Status Invalid(absl::string_view flag, absl::string_view value, absl::string_view allowed) {
  return absl::InvalidArgumentError(absl::StrCat(flag, " is '", value, "'; allowed: ", allowed));
}

absl::StatusOr<std::vector<std::string>> ParseLatencyNames(const std::string& text) {
  std::vector<std::string> wanted = absl::StrSplit(text, ',', absl::SkipWhitespace());
  for (std::string& name : wanted) name = std::string(absl::StripAsciiWhitespace(name));
  std::vector<std::string> names;
  for (const char* known : kLatencyNames) {
    if (std::find(wanted.begin(), wanted.end(), known) != wanted.end()) names.push_back(known);
  }
  for (const std::string& name : wanted) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      return Invalid("--percentile-metrics", name, absl::StrJoin(kLatencyNames, ", "));
    }
  }
  return names;
}

absl::StatusOr<std::pair<std::string, std::string>> ParsePair(absl::string_view flag,
                                                              const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) return Invalid(flag, text, "KEY=VALUE");
  return std::pair(text.substr(0, equals), text.substr(equals + 1));
}

absl::StatusOr<Goodput> ParseGoodput(const std::vector<std::string>& limits) {
  constexpr char kAllowed[] = "NAME:MILLISECONDS with NAME one of ttft, ttst, tpot, e2el";
  Goodput goodput;
  for (const std::string& limit : limits) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(limit, absl::MaxSplits(':', 1));
    const bool is_known = parts.first == "ttft" || parts.first == "ttst" || parts.first == "tpot" ||
                          parts.first == "e2el";
    double limit_ms = 0;
    if (!is_known || !absl::SimpleAtod(parts.second, &limit_ms) || !(limit_ms >= 0)) {
      return Invalid("--goodput", limit, kAllowed);
    }
    goodput[parts.first] = limit_ms;
  }
  return goodput;
}

}  // namespace

void AddServeOptions(CLI::App& app, ServeOptions& options) {
  AddServerOptions(app, options);
  AddDatasetOptions(app, options);
  AddLoadOptions(app, options);
  AddReportOptions(app, options);
}

absl::StatusOr<ParsedOptions> ParseOptions(const ServeOptions& options) {
  ParsedOptions parsed;
  if (!absl::SimpleAtod(options.request_rate, &parsed.requests_per_s) ||
      !(parsed.requests_per_s > 0)) {
    return Invalid("--request-rate", options.request_rate, "a number > 0, or inf");
  }
  if (options.dataset_name == "trace") {
    if (options.dataset_path.empty()) {
      return absl::InvalidArgumentError("--dataset-name trace needs --dataset-path");
    }
    if (!std::isinf(parsed.requests_per_s)) {
      return absl::InvalidArgumentError(
          "--request-rate cannot be combined with a trace, which has its own times; use "
          "--trace-time-scale");
    }
  }
  BATON_ASSIGN_OR_RETURN(parsed.latency_names, ParseLatencyNames(options.percentile_metrics));
  for (absl::string_view text :
       absl::StrSplit(options.metric_percentiles, ',', absl::SkipWhitespace())) {
    double percent = 0;
    if (!absl::SimpleAtod(text, &percent) || !(percent >= 0 && percent <= 100)) {
      return Invalid("--metric-percentiles", text, "numbers from 0 to 100, separated by commas");
    }
    parsed.percents.push_back(percent);
  }
  BATON_ASSIGN_OR_RETURN(parsed.goodput, ParseGoodput(options.goodput));
  for (const std::string& text : options.header) {
    BATON_ASSIGN_OR_RETURN(auto header, ParsePair("--header", text));
    parsed.headers.push_back(std::move(header));
  }
  for (const std::string& text : options.metadata) {
    BATON_ASSIGN_OR_RETURN(auto entry, ParsePair("--metadata", text));
    parsed.metadata.push_back(std::move(entry));
  }
  return parsed;
}

}  // namespace baton::bench
