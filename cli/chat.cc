#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "cli/commands.h"
#include "cli/http_client.h"

namespace baton::cli {
namespace {

using nlohmann::json;

struct ChatOptions {
  std::string url = "http://127.0.0.1:8000";
  std::string model, system;
  double temperature = 0.7;
  int max_tokens = 512;
};

// Set by Ctrl-C: stops the answer that is being written.
std::atomic<bool> interrupted{false};

absl::StatusOr<std::string> FirstModel(const std::string& url) {
  BATON_ASSIGN_OR_RETURN(const HttpReply reply, HttpGet(url, "/v1/models", absl::Seconds(10)));
  const json models = json::parse(reply.body, nullptr, false);
  if (models.is_object() && models.contains("data") && models["data"].is_array() &&
      !models["data"].empty() && models["data"][0].is_object()) {
    return models["data"][0].value("id", "");
  }
  return absl::UnavailableError(absl::StrCat(url, " lists no model (HTTP ", reply.status, ")"));
}

// "45 ms to the first token, 23.1 tokens/s, 120 tokens; 35 of 80 prompt tokens cached"
std::string TimesText(absl::Time sent, absl::Time first, absl::Time last, const json& usage) {
  const int64_t tokens = usage.value("completion_tokens", int64_t{0});
  std::string text =
      absl::StrFormat("%.0f ms to the first token", absl::ToDoubleMilliseconds(first - sent));
  if (tokens > 1 && last > first) {
    absl::StrAppendFormat(&text, ", %.1f tokens/s",
                          static_cast<double>(tokens - 1) / absl::ToDoubleSeconds(last - first));
  }
  absl::StrAppendFormat(&text, ", %d tokens", tokens);
  const json details = usage.value("prompt_tokens_details", json::object());
  if (details.is_object()) {
    absl::StrAppendFormat(&text, "; %d of %d prompt tokens cached",
                          details.value("cached_tokens", int64_t{0}),
                          usage.value("prompt_tokens", int64_t{0}));
  }
  return text;
}

// Streams the answer to `messages` to the terminal and returns it; with `times` a line about its
// speed follows.
absl::StatusOr<std::string> StreamAnswer(const ChatOptions& options, const json& messages,
                                         bool times) {
  const json request = {{"model", options.model},
                        {"messages", messages},
                        {"stream", true},
                        {"stream_options", {{"include_usage", true}}},
                        {"temperature", options.temperature},
                        {"max_tokens", options.max_tokens}};
  std::string answer, error;
  json usage;
  const absl::Time sent = SystemClock::Get().Now();
  absl::Time first = sent, last = sent;
  BATON_RETURN_IF_ERROR(HttpStream(
      options.url, "/v1/chat/completions",
      request.dump(-1, ' ', false, json::error_handler_t::replace), absl::Seconds(120),
      [&](const std::string& data) {
        const json chunk = json::parse(data, nullptr, false);
        if (chunk.is_object() && chunk.contains("error")) error = chunk["error"].dump();
        if (chunk.is_object() && chunk.contains("usage") && chunk["usage"].is_object()) {
          usage = chunk["usage"];
        }
        if (chunk.is_object() && chunk.contains("choices") && !chunk["choices"].empty()) {
          const json delta = chunk["choices"][0].value("delta", json::object());
          if (delta.contains("content") && delta["content"].is_string()) {
            const std::string text = delta["content"].get<std::string>();
            if (!text.empty()) {
              last = SystemClock::Get().Now();
              if (answer.empty()) first = last;
            }
            answer += text;
            std::fputs(text.c_str(), stdout);
            std::fflush(stdout);
          }
        }
        return !interrupted.load();
      }));
  std::printf("\n");
  if (!error.empty()) return absl::UnavailableError(error);
  if (times && usage.is_object()) {
    std::printf("[%s]\n", TimesText(sent, first, last, usage).c_str());
  }
  return answer;
}

// A line; where it ends with a backslash, the next one too. False at the end of the input.
bool ReadMessage(bool terminal, std::string* message) {
  message->clear();
  std::string line;
  while (std::getline(std::cin, line)) {
    if (line.empty() || line.back() != '\\') {
      *message += line;
      return true;
    }
    *message += line.substr(0, line.size() - 1) + "\n";
    if (terminal) std::fputs("... ", stdout);
    std::fflush(stdout);
  }
  return !message->empty();
}

absl::Status Chat(ChatOptions options) {
  if (options.model.empty()) {
    BATON_ASSIGN_OR_RETURN(options.model, FirstModel(options.url));
  }
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = true; };
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  const bool terminal = isatty(STDIN_FILENO) != 0;
  if (terminal) {
    std::printf(
        "%s at %s. Ctrl-C stops an answer; a \\ at the end of a line goes on on the next; /new "
        "starts "
        "over; /exit or Ctrl-D leaves.\n",
        options.model.c_str(), options.url.c_str());
  }
  const json start = options.system.empty()
                         ? json::array()
                         : json::array({{{"role", "system"}, {"content", options.system}}});
  json messages = start;
  std::string line;
  while (true) {
    if (terminal) std::fputs("> ", stdout);
    std::fflush(stdout);
    if (!ReadMessage(terminal, &line)) break;
    if (line == "/exit") break;
    if (line == "/new") messages = start;
    if (line.empty() || line == "/new") continue;
    interrupted = false;
    messages.push_back({{"role", "user"}, {"content", line}});
    absl::StatusOr<std::string> answer = StreamAnswer(options, messages, terminal);
    if (!answer.ok()) {
      if (!terminal) return answer.status();
      std::fprintf(stderr, "baton chat: %s\n", std::string(answer.status().message()).c_str());
      messages.erase(messages.size() - 1);
      continue;
    }
    messages.push_back({{"role", "assistant"}, {"content", *std::move(answer)}});
  }
  return absl::OkStatus();
}

}  // namespace

void AddChatCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<ChatOptions>();
  CLI::App* command = app.add_subcommand("chat", "Chat with a served model in the terminal");
  command->add_option("--url", options->url, "server, as http://host:port")->capture_default_str();
  command->add_option("--model", options->model, "model id; empty: the server's first");
  command->add_option("--system", options->system, "system prompt");
  command->add_option("--temperature", options->temperature, "0: always the likeliest token")
      ->check(CLI::Range(0.0, 2.0))
      ->capture_default_str();
  command->add_option("--max-tokens", options->max_tokens, "most tokens of an answer")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->callback([options, exit_code] {
    const absl::Status status = Chat(*options);
    if (status.ok()) return;
    std::fprintf(stderr, "baton chat: %s\n", std::string(status.message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace baton::cli
