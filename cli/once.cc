#include "cli/once.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "cli/http_client.h"

namespace baton::cli {
namespace {

using nlohmann::json;

absl::StatusOr<std::string> ServedModel(const std::string& url) {
  BATON_ASSIGN_OR_RETURN(const HttpReply reply, HttpGet(url, "/v1/models", absl::Seconds(10)));
  const json models = json::parse(reply.body, nullptr, false);
  if (reply.status != 200 || !models.is_object() || !models.contains("data") ||
      !models["data"].is_array() || models["data"].empty()) {
    return absl::UnavailableError(absl::StrCat("GET /v1/models: HTTP ", reply.status));
  }
  return models["data"][0].value("id", "");
}

// What the stream brought.
struct Answer {
  std::vector<absl::Time> arrivals;  // of chunks with text
  json usage, timings, error;
};

void TakeChunk(const std::string& data, Answer* answer) {
  const json chunk = json::parse(data, nullptr, false);
  if (!chunk.is_object()) return;
  for (const char* part : {"usage", "timings", "error"}) {
    if (!chunk.contains(part) || chunk[part].is_null()) continue;
    (part[0] == 'u'   ? answer->usage
     : part[0] == 't' ? answer->timings
                      : answer->error) = chunk[part];
  }
  if (!chunk.contains("choices") || !chunk["choices"].is_array()) return;
  for (const json& choice : chunk["choices"]) {
    const json delta = choice.value("delta", json::object());
    if (!delta.contains("content") || !delta["content"].is_string()) continue;
    const std::string text = delta["content"].get<std::string>();
    if (text.empty() && !answer->arrivals.empty()) continue;
    answer->arrivals.push_back(SystemClock::Get().Now());
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }
}

double Ms(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

void PrintTimes(const Answer& answer, absl::Time sent) {
  const size_t chunks = answer.arrivals.size();
  const int64_t tokens = answer.usage.is_object()
                             ? answer.usage.value("completion_tokens", int64_t{0})
                             : static_cast<int64_t>(chunks);
  std::printf("\n\n%lld prompt tokens, %lld output tokens\n",
              static_cast<long long>(
                  answer.usage.is_object() ? answer.usage.value("prompt_tokens", int64_t{0}) : 0),
              static_cast<long long>(tokens));
  if (chunks > 0) std::printf("TTFT                  %8.1f ms\n", Ms(answer.arrivals[0] - sent));
  if (chunks > 1) {
    std::printf("time to second token  %8.1f ms\n", Ms(answer.arrivals[1] - sent));
    std::printf("TPOT                  %8.2f ms (%.1f tokens/s)\n",
                Ms(answer.arrivals.back() - answer.arrivals[0]) / static_cast<double>(tokens - 1),
                static_cast<double>(tokens - 1) /
                    absl::ToDoubleSeconds(answer.arrivals.back() - answer.arrivals[0]));
  }
  const json& t = answer.timings;
  if (!t.is_object()) return;
  std::printf("%s computed the prompt in %.1f ms (%.1f ms in its queue)\n",
              t.value("prefill_node", "?").c_str(), t.value("prefill_ms", 0.0),
              t.value("queue_ms", 0.0));
  if (t.value("decode_node", "").empty()) return;
  std::printf("%s took over %.1f ms after the end of prefill, decoded for %.1f ms\n",
              t.value("decode_node", "?").c_str(),
              t.value("transfer_exposed_ms", 0.0) + t.value("decode_wait_ms", 0.0),
              t.value("decode_ms", 0.0));
}

}  // namespace

absl::Status AskOnce(const std::string& url, const std::string& question, int max_tokens) {
  BATON_ASSIGN_OR_RETURN(const std::string model, ServedModel(url));
  json request = {{"model", model},   {"messages", {{{"role", "user"}, {"content", question}}}},
                  {"stream", true},   {"stream_options", {{"include_usage", true}}},
                  {"temperature", 0}, {"max_tokens", max_tokens},
                  {"timings", true}};
  Answer answer;
  const absl::Time sent = SystemClock::Get().Now();
  BATON_RETURN_IF_ERROR(HttpStream(url, "/v1/chat/completions",
                                   request.dump(-1, ' ', false, json::error_handler_t::replace),
                                   absl::Seconds(120), [&answer](const std::string& data) {
                                     TakeChunk(data, &answer);
                                     return true;
                                   }));
  if (!answer.error.is_null()) {
    return absl::UnavailableError(absl::StrCat("the server reported: ", answer.error.dump()));
  }
  PrintTimes(answer, sent);
  return absl::OkStatus();
}

}  // namespace baton::cli
