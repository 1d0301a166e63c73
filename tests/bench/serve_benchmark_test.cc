// The whole course against a server of known timing.
#include "bench/load/serve_benchmark.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "bench/load/bench_command.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/bench/fake_server.h"

namespace baton::bench {
namespace {

using test::FakeConnection;
using test::FakeRequest;
using test::FakeServer;
using test::FinishEvent;
using test::SleepMs;
using test::TextEvent;
using test::UsageEvent;
using testing::HasSubstr;

constexpr int kFirstTokenMs = 60;
constexpr int kTokenMs = 25;
// Timers and threads of a busy machine are late, never early.
constexpr double kLateMs = 150;

ServeOptions Options(const FakeServer& server, int prompts) {
  ServeOptions options;
  options.port = server.port();
  options.num_prompts = prompts;
  options.random_input_len = 5;
  options.random_output_len = 4;
  options.max_concurrency = 1;
  options.disable_progress = true;
  return options;
}

bool AnswersModels(const FakeRequest& request, FakeConnection& connection) {
  if (request.Is("GET /v1/models")) {
    connection.SendJson(200, R"({"object":"list","data":[{"id":"org/tiny"}]})");
    return true;
  }
  if (request.Is("POST /tokenize")) {
    connection.SendJson(404, "{}");
    return true;
  }
  return false;
}

// 4 tokens at 60, 85, 110 and 135 ms.
void AnswerInTime(const FakeRequest& request, FakeConnection& connection) {
  if (AnswersModels(request, connection)) return;
  connection.BeginStream();
  connection.SendChunk(": keep-alive\n\n");
  SleepMs(kFirstTokenMs);
  connection.SendChunk(TextEvent("a"));
  for (int i = 0; i < 3; ++i) {
    SleepMs(kTokenMs);
    connection.SendChunk(TextEvent("b"));
  }
  connection.SendChunk(FinishEvent() + UsageEvent(5, 4) + "data: [DONE]\n\n");
  connection.EndStream();
}

LoadMetrics Measure(const ServeOptions& options, std::string* report = nullptr) {
  std::ostringstream out;
  auto metrics = RunServeBenchmark(options, out);
  EXPECT_TRUE(metrics.ok()) << metrics.status();
  if (report != nullptr) *report = out.str();
  return metrics.ok() ? *std::move(metrics) : LoadMetrics();
}

TEST(ServeBenchmark, MeasuresKnownTimes) {
  FakeServer server(AnswerInTime);
  ServeOptions options = Options(server, 5);
  options.goodput = {"ttft:55"};
  std::string report;
  LoadMetrics metrics = Measure(options, &report);
  EXPECT_EQ(metrics.completed, 5);
  EXPECT_EQ(metrics.total_output_tokens, 20);
  EXPECT_EQ(metrics.total_input_tokens, 25);
  const auto expect_ms = [&metrics](const char* name, double ms) {
    EXPECT_GE(metrics.latencies_ms[name].median, ms - 2) << name;
    EXPECT_LE(metrics.latencies_ms[name].median, ms + kLateMs) << name;
  };
  expect_ms("ttft", kFirstTokenMs);
  expect_ms("ttst", kFirstTokenMs + kTokenMs);
  expect_ms("itl", kTokenMs);
  expect_ms("tpot", kTokenMs);
  expect_ms("e2el", kFirstTokenMs + 3 * kTokenMs);
  EXPECT_EQ(metrics.latencies_ms["itl"].count, 15) << "the finish reason alone is no token";
  EXPECT_EQ(*metrics.request_goodput, 0) << "no first token came within 55 ms";
  EXPECT_EQ(metrics.max_concurrent_requests, 1);
  EXPECT_LE(server.connections(), 2) << "one for questions, one that all answers share";
  for (const char* line :
       {"Serving Benchmark Result", "Successful requests:                     5",
        "Median TTFT (ms):", "P95 TTST (ms):", "P90 ITL (ms):", "P99 E2EL (ms):", "TPOT: (E2EL",
        "Request goodput (req/s):                 0.00", "approximate"}) {
    EXPECT_THAT(report, HasSubstr(line));
  }
}

TEST(ServeBenchmark, GenerousLimitsAreMet) {
  FakeServer server(AnswerInTime);
  ServeOptions options = Options(server, 2);
  options.goodput = {"ttft:5000", "tpot:5000", "e2el:9000"};
  const LoadMetrics metrics = Measure(options);
  EXPECT_DOUBLE_EQ(*metrics.request_goodput, metrics.request_throughput);
}

TEST(ServeBenchmark, SendsAtTheScheduledTimesWhateverTheServerDoes) {
  FakeServer server([](const FakeRequest& request, FakeConnection& connection) {
    if (AnswersModels(request, connection)) return;
    SleepMs(400);
    connection.SendJson(500, "{}");
  });
  ServeOptions options = Options(server, 10);
  options.max_concurrency = 0;
  options.request_rate = "50";
  LoadMetrics metrics = Measure(options);
  EXPECT_GE(metrics.max_concurrent_requests, 5)
      << "all are sent within 200 ms, the first answer comes after 400";
  EXPECT_LT(metrics.send_delay_ms.max, kLateMs);
}

TEST(ServeBenchmark, ConcurrencyIsBoundedAndTheDelayShows) {
  FakeServer server(AnswerInTime);
  ServeOptions options = Options(server, 6);
  options.max_concurrency = 2;
  const LoadMetrics metrics = Measure(options);
  EXPECT_EQ(metrics.completed, 6);
  EXPECT_EQ(metrics.max_concurrent_requests, 2);
  EXPECT_GE(metrics.send_delay_ms.max, 2 * (kFirstTokenMs + 3 * kTokenMs) - 5);
}

TEST(ServeBenchmark, BytesMayBeCutAnywhere) {
  FakeServer server([](const FakeRequest& request, FakeConnection& connection) {
    if (AnswersModels(request, connection)) return;
    const std::string body = TextEvent("\xE4\xBD\xA0") + TextEvent("b") + FinishEvent() +
                             UsageEvent(9, 2) + "data: [DONE]\n\n";
    std::string answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (size_t at = 0; at < body.size(); at += 7)
      answer += FakeConnection::Chunk(body.substr(at, 7));
    answer += "0\r\n\r\n";
    for (size_t at = 0; at < answer.size(); at += 3) connection.Send(answer.substr(at, 3));
  });
  const LoadMetrics metrics = Measure(Options(server, 3));
  EXPECT_EQ(metrics.completed, 3);
  EXPECT_EQ(metrics.total_output_tokens, 6);
  EXPECT_EQ(metrics.total_input_tokens, 27);
}

TEST(ServeBenchmark, AnswersWithoutLengthEndWithTheConnection) {
  FakeServer server([](const FakeRequest& request, FakeConnection& connection) {
    if (AnswersModels(request, connection)) return;
    connection.Send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + TextEvent("a") +
                    TextEvent("b") + FinishEvent());
    connection.Close();
  });
  std::string report;
  const LoadMetrics metrics = Measure(Options(server, 3), &report);
  EXPECT_EQ(metrics.completed, 3);
  EXPECT_EQ(metrics.total_output_tokens, 6);
  EXPECT_EQ(metrics.estimated, 3);
  EXPECT_THAT(report, HasSubstr("came without usage"));
}

TEST(ServeBenchmark, FailuresAreCountedAndShown) {
  std::atomic<int> number{0};
  FakeServer server([&number](const FakeRequest& request, FakeConnection& connection) {
    if (AnswersModels(request, connection)) return;
    switch (number++ % 4) {
      case 0:
        return AnswerInTime(request, connection);
      case 1:
        return connection.SendJson(429, R"({"error":{"message":"slow down"}})");
      case 2:
        connection.BeginStream();
        connection.SendChunk(TextEvent("a"));
        return connection.Close();
      default:
        connection.BeginStream();
        connection.SendChunk("data: {\"error\":{\"message\":\"node died\"}}\n\n");
        return connection.EndStream();
    }
  });
  std::string report;
  const LoadMetrics metrics = Measure(Options(server, 8), &report);
  EXPECT_EQ(metrics.completed, 2);
  EXPECT_EQ(metrics.failed, 6);
  EXPECT_THAT(report, HasSubstr("failed x2: HTTP 429: {\"error\":{\"message\":\"slow down\"}}"));
  EXPECT_THAT(report, HasSubstr("broke off"));
  EXPECT_THAT(report, HasSubstr("node died"));
}

TEST(ServeBenchmark, AKeptConnectionThatTheServerClosedIsReplaced) {
  FakeServer server([](const FakeRequest& request, FakeConnection& connection) {
    if (AnswersModels(request, connection)) return;
    // Promises to keep the connection, then closes it.
    connection.BeginStream();
    connection.SendChunk(TextEvent("a") + FinishEvent() + "data: [DONE]\n\n");
    connection.EndStream();
    connection.Close();
  });
  ServeOptions options = Options(server, 10);
  options.request_rate = "100";
  EXPECT_EQ(Measure(options).completed, 10);
}

TEST(ServeBenchmark, ASilentServerRunsIntoTheTimeout) {
  FakeServer server([](const FakeRequest& request, FakeConnection& connection) {
    if (AnswersModels(request, connection)) return;
    connection.BeginStream();
    SleepMs(600);
  });
  ServeOptions options = Options(server, 1);
  options.request_timeout_s = 0.2;
  std::string report;
  const LoadMetrics metrics = Measure(options, &report);
  EXPECT_EQ(metrics.failed, 1);
  EXPECT_LT(metrics.duration_s, 0.5);
  EXPECT_THAT(report, HasSubstr("timeout"));
}

TEST(ServeBenchmark, TheServersTokenizeCalibratesThePrompts) {
  FakeServer server([](const FakeRequest& request, FakeConnection& connection) {
    if (request.Is("POST /tokenize")) {
      const auto body = nlohmann::json::parse(request.body);
      if (!body.contains("content"))
        return connection.SendJson(400, "{}");  // llama.cpp's form only
      const auto text = body["content"].get<std::string>();
      std::vector<int> tokens(2 * (1 + std::count(text.begin(), text.end(), ' ')),
                              0);  // two a word
      return connection.SendJson(200, nlohmann::json{{"tokens", tokens}}.dump());
    }
    AnswerInTime(request, connection);
  });
  ServeOptions options = Options(server, 1);
  options.random_input_len = 12;
  std::string report;
  Measure(options, &report);
  EXPECT_THAT(report, HasSubstr("counted by the server's /tokenize"));
}

TEST(ServeBenchmark, SavesTheKeysOfVllm) {
  FakeServer server(AnswerInTime);
  ServeOptions options = Options(server, 2);
  const std::filesystem::path folder = "/tmp/baton_bench_" + std::to_string(getpid());
  options.result_dir = folder;
  options.save_result = true;
  options.save_detailed = true;
  options.metadata = {"version=7"};
  options.metric_percentiles = "50,99.9";
  Measure(options);
  ASSERT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  const std::filesystem::path path = std::filesystem::directory_iterator(folder)->path();
  EXPECT_THAT(path.filename().string(),
              testing::MatchesRegex("openai-infqps-concurrency1-tiny-[0-9]+-[0-9]+.json"));
  std::ifstream file(path);
  const auto json = nlohmann::json::parse(file);
  std::filesystem::remove_all(folder);
  for (const char* key : {"date",
                          "endpoint_type",
                          "backend",
                          "label",
                          "model_id",
                          "tokenizer_id",
                          "num_prompts",
                          "request_rate",
                          "burstiness",
                          "max_concurrency",
                          "duration",
                          "completed",
                          "failed",
                          "total_input_tokens",
                          "total_output_tokens",
                          "request_throughput",
                          "request_goodput",
                          "output_throughput",
                          "total_token_throughput",
                          "input_lens",
                          "output_lens",
                          "ttfts",
                          "itls",
                          "start_times",
                          "scheduled_times",
                          "generated_texts",
                          "errors",
                          "max_output_tokens_per_s",
                          "max_concurrent_requests",
                          "mean_ttft_ms",
                          "median_ttst_ms",
                          "std_tpot_ms",
                          "p50_itl_ms",
                          "p99.9_e2el_ms"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json["version"], "7");
  EXPECT_EQ(json["model_id"], "org/tiny");
  EXPECT_EQ(json["request_rate"], "inf");
  EXPECT_EQ(json["generated_texts"], (std::vector<std::string>{"abbb", "abbb"}));
  EXPECT_EQ(json["itls"][0].size(), 3u);
}

TEST(ServeBenchmark, ChatKeyHeadersAndIpv6) {
  std::string head;
  std::string body;
  FakeServer server(
      [&](const FakeRequest& request, FakeConnection& connection) {
        if (AnswersModels(request, connection)) return;
        head = request.head;
        body = request.body;
        connection.BeginStream();
        connection.SendChunk(
            "data: "
            "{\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: "
            "[DONE]\n\n");
        connection.EndStream();
      },
      /*ipv6=*/true);
  if (!server.ok()) GTEST_SKIP() << "no IPv6 loopback";
  setenv("OPENAI_API_KEY", "secret", 1);
  ServeOptions options = Options(server, 1);
  options.base_url = "http://[::1]:" + std::to_string(server.port()) + "/api";
  options.backend = "openai-chat";
  options.served_model_name = "alias";
  options.header = {"X-Test=1"};
  const LoadMetrics metrics = Measure(options);
  unsetenv("OPENAI_API_KEY");
  EXPECT_EQ(metrics.completed, 1);
  EXPECT_THAT(head, HasSubstr("POST /api/v1/chat/completions HTTP/1.1"));
  EXPECT_THAT(head, HasSubstr("Authorization: Bearer secret"));
  EXPECT_THAT(head, HasSubstr("X-Test: 1"));
  EXPECT_EQ(nlohmann::json::parse(body)["model"], "alias");
}

int ExitCode(std::vector<std::string> arguments) {
  CLI::App app;
  int exit_code = 0;
  AddBenchCommand(app, &exit_code);
  std::reverse(arguments.begin(), arguments.end());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError&) {
    exit_code = 2;
  }
  testing::internal::GetCapturedStdout();
  testing::internal::GetCapturedStderr();
  return exit_code;
}

TEST(BenchCommand, ExitsWithOneWhenNothingSucceeded) {
  FakeServer server(AnswerInTime);
  FakeServer broken([](const FakeRequest& request, FakeConnection& connection) {
    if (!AnswersModels(request, connection)) connection.SendJson(500, "{}");
  });
  const auto command = [](int port) {
    return std::vector<std::string>{"bench",
                                    "serve",
                                    "--port",
                                    std::to_string(port),
                                    "--num-prompts",
                                    "1",
                                    "--goodput",
                                    "ttft:900",
                                    "tpot:90",
                                    "--random-input-len",
                                    "3"};
  };
  EXPECT_EQ(ExitCode(command(server.port())), 0);
  EXPECT_EQ(ExitCode(command(broken.port())), 1);
  EXPECT_EQ(ExitCode({"bench", "serve", "--port", "1", "--num-prompts", "1"}), 1)
      << "nobody listens";
  EXPECT_EQ(ExitCode({"bench", "serve", "--dataset-name", "none"}), 2);
}

}  // namespace
}  // namespace baton::bench
