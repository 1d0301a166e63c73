#include "bench/load/serve_benchmark.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "bench/load/arrivals.h"
#include "bench/load/datasets.h"
#include "bench/load/http_client.h"
#include "bench/load/load_run.h"
#include "bench/load/progress.h"
#include "bench/load/report.h"
#include "bench/load/request_body.h"
#include "bench/load/token_counter.h"

namespace baton::bench {
namespace {

namespace http = boost::beast::http;

constexpr absl::Duration kQuestionTimeout = absl::Seconds(10);

absl::StatusOr<HttpTarget> TargetOf(const ServeOptions& options, const ParsedOptions& parsed) {
  HttpTarget target;
  if (options.base_url.empty()) {
    target.host = options.host;
    target.port = absl::StrCat(options.port);
  } else {
    BATON_ASSIGN_OR_RETURN(target, ParseBaseUrl(options.base_url));
  }
  if (const char* key = std::getenv("OPENAI_API_KEY"); key != nullptr && *key != '\0') {
    target.headers.emplace_back("Authorization", absl::StrCat("Bearer ", key));
  }
  for (const auto& header : parsed.headers) target.headers.push_back(header);
  return target;
}

// GET /v1/models, repeated until the ready-check time is over.
absl::StatusOr<HttpReply> AskForModels(HttpClient& client, double patience_s) {
  const absl::Time give_up = absl::Now() + absl::Seconds(patience_s);
  for (;;) {
    absl::StatusOr<HttpReply> reply = client.Send(http::verb::get, "/v1/models", "");
    const bool is_ready = reply.ok() && reply->status < 500;
    if (is_ready || absl::Now() >= give_up) return reply;
    absl::SleepFor(absl::Milliseconds(200));
  }
}

// The id of the first model; an error says why there is none.
absl::StatusOr<std::string> FirstModel(const HttpReply& reply) {
  const auto answer = nlohmann::json::parse(reply.body, nullptr, /*allow_exceptions=*/false);
  if (reply.status == 200 && answer.is_object() && answer.contains("data")) {
    const auto& data = answer["data"];
    if (data.is_array() && !data.empty() && data[0].is_object() && data[0].contains("id") &&
        data[0]["id"].is_string()) {
      return data[0]["id"].get<std::string>();
    }
  }
  return absl::FailedPreconditionError(
      absl::StrCat("GET /v1/models answered HTTP ", reply.status,
                   " without a model id; name the model with --model"));
}

absl::StatusOr<std::string> FindModel(const ServeOptions& options, HttpClient& client) {
  BATON_ASSIGN_OR_RETURN(const HttpReply reply,
                         AskForModels(client, options.ready_check_timeout_s));
  if (!options.served_model_name.empty()) return options.served_model_name;
  if (!options.model.empty()) return options.model;
  return FirstModel(reply);
}

absl::StatusOr<std::unique_ptr<TokenCounter>> FindCounter(const ServeOptions& options,
                                                          HttpClient& client,
                                                          const std::string& model) {
  if (!options.tokenizer.empty()) return FileTokenCounter::Load(options.tokenizer);
  return ServerTokenCounter::Find(client, model);
}

std::vector<double> SendTimes(const ServeOptions& options, const ParsedOptions& parsed,
                              const PromptSet& set) {
  if (!set.has_times) {
    return ArrivalTimes(static_cast<int>(set.prompts.size()), parsed.requests_per_s,
                        options.burstiness, options.seed);
  }
  std::vector<double> times;
  for (const Prompt& prompt : set.prompts) times.push_back(prompt.send_at_s);
  return times;
}

std::string DefaultEndpoint(const ServeOptions& options) {
  if (!options.endpoint.empty()) return options.endpoint;
  return options.is_chat() ? "/v1/chat/completions" : "/v1/completions";
}

absl::Status SaveResult(const ServeOptions& options, const RunFacts& facts,
                        const nlohmann::ordered_json& result, std::ostream& out) {
  std::error_code error;
  std::filesystem::create_directories(options.result_dir, error);
  const std::filesystem::path path =
      std::filesystem::path(options.result_dir) / ResultFilename(options, facts);
  std::ofstream file(path);
  // A generated text may end inside a character.
  file << result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat("cannot write ", path.string()));
  out << "Result: " << path.string() << "\n";
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LoadMetrics> RunServeBenchmark(const ServeOptions& options, std::ostream& out) {
  BATON_ASSIGN_OR_RETURN(const ParsedOptions parsed, ParseOptions(options));
  BATON_ASSIGN_OR_RETURN(const nlohmann::ordered_json extra_body,
                         ParseExtraBody(options.extra_body));
  LoadPlan plan;
  BATON_ASSIGN_OR_RETURN(plan.target, TargetOf(options, parsed));
  HttpClient client(plan.target, kQuestionTimeout);
  RunFacts facts;
  BATON_ASSIGN_OR_RETURN(facts.model, FindModel(options, client));
  BATON_ASSIGN_OR_RETURN(const std::unique_ptr<TokenCounter> counter,
                         FindCounter(options, client, facts.model));
  BATON_ASSIGN_OR_RETURN(const PromptSet set, MakePrompts(options, counter.get()));
  BATON_ASSIGN_OR_RETURN(plan.addresses, client.Resolve());
  facts.length_note = set.length_note;
  facts.date = absl::FormatTime("%Y%m%d-%H%M%S", absl::Now(), absl::LocalTimeZone());

  plan.path = DefaultEndpoint(options);
  plan.body = [&](size_t i) {
    return RequestBody(options, extra_body, facts.model, set.prompts[i % set.prompts.size()]);
  };
  plan.prompt_tokens = [&](size_t i) { return set.prompts[i % set.prompts.size()].input_tokens; };
  plan.max_concurrency = options.max_concurrency;
  plan.request_timeout = absl::Seconds(options.request_timeout_s);
  if (options.num_warmups > 0) {
    LoadPlan warmup = plan;
    warmup.send_at_s.assign(options.num_warmups, 0.0);
    Progress silent(nullptr, options.num_warmups);
    RunLoad(warmup, silent);
  }
  plan.send_at_s = SendTimes(options, parsed, set);
  Progress progress(options.disable_progress ? nullptr : stderr,
                    static_cast<int64_t>(plan.send_at_s.size()));
  const LoadResult result = RunLoad(plan, progress);
  LoadMetrics metrics = Compute(result.records, result.duration_s, parsed.goodput, parsed.percents);
  out << ConsoleReport(options, parsed, metrics, result, facts);
  if (options.save_result || options.save_detailed) {
    BATON_RETURN_IF_ERROR(
        SaveResult(options, facts, ResultJson(options, parsed, metrics, result, facts), out));
  }
  return metrics;
}

}  // namespace baton::bench
