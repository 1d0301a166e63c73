#include "bench/load/report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace baton::bench {
namespace {

constexpr size_t kWidth = 50;
constexpr size_t kErrorsShown = 3;

constexpr char kDefinitions[] =
    "TTFT: first token chunk - send. TTST: second token chunk - send. ITL: gaps between token "
    "chunks of one answer, all\n"
    "answers pooled. TPOT: (E2EL - TTFT) / (output tokens - 1), of answers with more than one "
    "token. E2EL: last chunk -\n"
    "send. Send is when the request goes out, connecting included; send delay is how long after "
    "its scheduled time. A\n"
    "token chunk is an event with a choice; a lone role or finish reason is none. Percentiles "
    "interpolate linearly.\n";

const char* Title(const std::string& name) {
  static const std::map<std::string, const char*> titles = {
      {"ttft", "Time to First Token"},
      {"ttst", "Time to Second Token"},
      {"tpot", "Time per Output Token (excl. 1st token)"},
      {"itl", "Inter-token Latency"},
      {"e2el", "End-to-end Latency"}};
  return titles.at(name);
}

std::string Centered(const std::string& text, char fill) {
  const size_t left = text.size() < kWidth ? (kWidth - text.size()) / 2 : 0;
  const size_t right = text.size() < kWidth ? kWidth - text.size() - left : 0;
  return absl::StrCat(std::string(left, fill), text, std::string(right, fill), "\n");
}

std::string Line(const std::string& label, const std::string& value) {
  return absl::StrFormat("%-40s %-10s\n", label, value);
}
std::string Line(const std::string& label, int64_t value) {
  return Line(label, absl::StrCat(value));
}
std::string Line(const std::string& label, double value) {
  return Line(label, absl::StrFormat("%.2f", value));
}

// "99" for 99.0, "99.9" for 99.9.
std::string PercentText(double percent) { return absl::StrFormat("%g", percent); }

std::string LatencyBlock(const std::string& name, const Distribution& values) {
  const std::string unit = absl::StrCat(absl::AsciiStrToUpper(name), " (ms):");
  std::string text = Centered(Title(name), '-');
  text += Line(absl::StrCat("Mean ", unit), values.mean);
  text += Line(absl::StrCat("Median ", unit), values.median);
  for (const auto& [percent, value] : values.percentiles) {
    text += Line(absl::StrCat("P", PercentText(percent), " ", unit), value);
  }
  return text;
}

// The first different errors with how often each occurred.
std::string ErrorBlock(const LoadResult& result) {
  std::vector<std::pair<std::string, int64_t>> counts;
  for (const RequestRecord& record : result.records) {
    if (record.success) continue;
    auto known = std::find_if(counts.begin(), counts.end(),
                              [&record](const auto& entry) { return entry.first == record.error; });
    if (known != counts.end()) {
      ++known->second;
    } else if (counts.size() < kErrorsShown) {
      counts.emplace_back(record.error, 1);
    }
  }
  std::string text;
  for (const auto& [error, count] : counts)
    absl::StrAppend(&text, "failed x", count, ": ", error, "\n");
  return text;
}

nlohmann::ordered_json RateJson(double requests_per_s) {
  if (std::isinf(requests_per_s)) return "inf";
  return requests_per_s;
}

void AddLatencies(const ParsedOptions& parsed, const LoadMetrics& metrics,
                  nlohmann::ordered_json& json) {
  for (const std::string& name : parsed.latency_names) {
    const Distribution& values = metrics.latencies_ms.at(name);
    json[absl::StrCat("mean_", name, "_ms")] = values.mean;
    json[absl::StrCat("median_", name, "_ms")] = values.median;
    json[absl::StrCat("std_", name, "_ms")] = values.std;
    for (const auto& [percent, value] : values.percentiles) {
      json[absl::StrCat("p", PercentText(percent), "_", name, "_ms")] = value;
    }
  }
}

void AddDetails(const LoadResult& result, nlohmann::ordered_json& json) {
  for (const char* name : {"input_lens", "output_lens", "ttfts", "ttsts", "itls", "e2els",
                           "start_times", "scheduled_times", "generated_texts", "errors"}) {
    json[name] = nlohmann::ordered_json::array();
  }
  for (const RequestRecord& record : result.records) {
    json["input_lens"].push_back(record.prompt_tokens);
    json["output_lens"].push_back(record.success ? record.output_tokens : 0);
    json["ttfts"].push_back(record.ttft_s);
    if (record.ttst_s >= 0) {
      json["ttsts"].push_back(record.ttst_s);
    } else {
      json["ttsts"].push_back(nullptr);
    }
    json["itls"].push_back(record.itl_s);
    json["e2els"].push_back(record.e2el_s());
    json["start_times"].push_back(record.sent_s);
    json["scheduled_times"].push_back(record.scheduled_s);
    json["generated_texts"].push_back(record.text);
    json["errors"].push_back(record.error);
  }
}

}  // namespace

std::string ConsoleReport(const ServeOptions& options, const ParsedOptions& parsed,
                          const LoadMetrics& metrics, const LoadResult& result,
                          const RunFacts& facts) {
  std::string text = Centered(" Serving Benchmark Result ", '=');
  text += Line("Successful requests:", metrics.completed);
  text += Line("Failed requests:", metrics.failed);
  if (options.max_concurrency > 0) {
    text += Line("Maximum request concurrency:", int64_t{options.max_concurrency});
  }
  if (!std::isinf(parsed.requests_per_s)) {
    text += Line("Request rate configured (RPS):", parsed.requests_per_s);
  }
  text += Line("Benchmark duration (s):", metrics.duration_s);
  text += Line("Total input tokens:", metrics.total_input_tokens);
  text += Line("Total generated tokens:", metrics.total_output_tokens);
  text += Line("Request throughput (req/s):", metrics.request_throughput);
  if (metrics.request_goodput.has_value()) {
    text += Line("Request goodput (req/s):", *metrics.request_goodput);
  }
  text += Line("Output token throughput (tok/s):", metrics.output_throughput);
  text += Line("Peak output token throughput (tok/s):", metrics.max_output_tokens_per_s);
  text += Line("Peak concurrent requests:", metrics.max_concurrent_requests);
  text += Line("Total token throughput (tok/s):", metrics.total_token_throughput);
  for (const std::string& name : parsed.latency_names) {
    text += LatencyBlock(name, metrics.latencies_ms.at(name));
  }
  text += Centered("Client", '-');
  text += Line("Mean send delay (ms):", metrics.send_delay_ms.mean);
  text += Line("Max send delay (ms):", metrics.send_delay_ms.max);
  text += std::string(kWidth, '=') + "\n";
  text += kDefinitions;
  absl::StrAppend(&text, "Prompt lengths: ", facts.length_note, ".\n");
  if (metrics.estimated > 0) {
    absl::StrAppend(&text, metrics.estimated,
                    " answers came without usage: their tokens are counted as chunks.\n");
  }
  return text + ErrorBlock(result);
}

nlohmann::ordered_json ResultJson(const ServeOptions& options, const ParsedOptions& parsed,
                                  const LoadMetrics& metrics, const LoadResult& result,
                                  const RunFacts& facts) {
  nlohmann::ordered_json json;
  json["date"] = facts.date;
  json["endpoint_type"] = options.backend;
  json["backend"] = options.backend;
  json["label"] =
      options.label.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(options.label);
  json["model_id"] = facts.model;
  json["tokenizer_id"] = options.tokenizer.empty() ? facts.model : options.tokenizer;
  json["num_prompts"] = result.records.size();
  for (const auto& [key, value] : parsed.metadata) json[key] = value;
  json["dataset_name"] = options.dataset_name;
  json["prompt_lengths"] = facts.length_note;
  json["request_rate"] = RateJson(parsed.requests_per_s);
  json["burstiness"] = options.burstiness;
  json["max_concurrency"] = options.max_concurrency > 0
                                ? nlohmann::ordered_json(options.max_concurrency)
                                : nlohmann::ordered_json();
  json["seed"] = options.seed;
  json["duration"] = metrics.duration_s;
  json["completed"] = metrics.completed;
  json["failed"] = metrics.failed;
  json["total_input_tokens"] = metrics.total_input_tokens;
  json["total_output_tokens"] = metrics.total_output_tokens;
  json["estimated_token_counts"] = metrics.estimated;
  json["request_throughput"] = metrics.request_throughput;
  json["request_goodput"] = metrics.request_goodput.has_value()
                                ? nlohmann::ordered_json(*metrics.request_goodput)
                                : nlohmann::ordered_json();
  json["output_throughput"] = metrics.output_throughput;
  json["total_token_throughput"] = metrics.total_token_throughput;
  json["max_output_tokens_per_s"] = metrics.max_output_tokens_per_s;
  json["max_concurrent_requests"] = metrics.max_concurrent_requests;
  json["mean_send_delay_ms"] = metrics.send_delay_ms.mean;
  json["max_send_delay_ms"] = metrics.send_delay_ms.max;
  AddLatencies(parsed, metrics, json);
  if (options.save_detailed) AddDetails(result, json);
  return json;
}

std::string ResultFilename(const ServeOptions& options, const RunFacts& facts) {
  if (!options.result_filename.empty()) return options.result_filename;
  const std::string base = facts.model.substr(facts.model.rfind('/') + 1);
  std::string name = absl::StrCat(options.label.empty() ? options.backend : options.label, "-",
                                  options.request_rate, "qps");
  if (options.max_concurrency > 0) absl::StrAppend(&name, "-concurrency", options.max_concurrency);
  return absl::StrCat(name, "-", base, "-", facts.date, ".json");
}

}  // namespace baton::bench
