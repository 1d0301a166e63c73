#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "cli/commands.h"
#include "cli/http_client.h"
#include "cli/local_cluster.h"
#include "cli/model_path.h"
#include "cli/once.h"
#include "engine/assembly.h"
#include "models/text/folder_texts.h"

namespace baton::cli {
namespace {

struct Options {
  std::string role;
  std::string model, served_model_name;
  std::string host = "127.0.0.1";
  int port = 8000;
  std::string grpc_listen = "127.0.0.1:0";
  int prefill = 1, decode = 1, threads = 0;
  std::string prefill_device = "p_chip", decode_device = "d_chip", isa, kv_dtype;
  long long max_context = 0, kv_bytes = 0;
  int block_tokens = 0;
  std::string log_level = "info";
  std::string once;
  int max_tokens = 256;
  int drain_timeout_ms = 30000;
};

std::string ProgramFolder() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
}

// Becomes the process of one role; returns only when that fails.
absl::Status ExecRole(const std::string& role, const std::vector<std::string>& flags) {
  if (role != "router" && role != "prefill" && role != "decode") {
    return absl::InvalidArgumentError(
        absl::StrCat("--role ", role, ": needs router, prefill or decode"));
  }
  std::vector<std::string> arguments = {absl::StrCat(ProgramFolder(), "/baton-", role)};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  return absl::NotFoundError(absl::StrCat(arguments[0], ": ", std::strerror(errno)));
}

LocalClusterOptions ClusterOptions(const Options& o) {
  const int threads =
      o.threads > 0 ? o.threads : std::max(1, engine::UsableCpus() / (o.prefill + o.decode));
  LocalClusterOptions cluster;
  cluster.program_folder = ProgramFolder();
  cluster.prefill = o.prefill;
  cluster.decode = o.decode;
  cluster.quiet = !o.once.empty();
  const std::string drain = absl::StrCat(o.drain_timeout_ms);
  cluster.router_flags = {"--model",
                          o.model,
                          "--host",
                          o.host,
                          "--port",
                          absl::StrCat(o.port),
                          "--grpc-listen",
                          o.grpc_listen,
                          "--cluster-listen",
                          "127.0.0.1:0",
                          "--log-level",
                          o.log_level,
                          "--drain-timeout-ms",
                          drain};
  if (!o.served_model_name.empty()) {
    cluster.router_flags.insert(cluster.router_flags.end(),
                                {"--served-model-name", o.served_model_name});
  }
  std::vector<std::string> node = {
      "--model",     o.model,     "--threads",          absl::StrCat(threads),
      "--log-level", o.log_level, "--drain-timeout-ms", drain};
  if (!o.isa.empty()) node.insert(node.end(), {"--isa", o.isa});
  if (!o.kv_dtype.empty()) node.insert(node.end(), {"--kv-dtype", o.kv_dtype});
  if (o.max_context > 0) node.insert(node.end(), {"--max-context", absl::StrCat(o.max_context)});
  if (o.kv_bytes > 0) node.insert(node.end(), {"--kv-bytes", absl::StrCat(o.kv_bytes)});
  if (o.block_tokens > 0) node.insert(node.end(), {"--block-tokens", absl::StrCat(o.block_tokens)});
  cluster.prefill_flags = cluster.decode_flags = node;
  cluster.prefill_flags.insert(cluster.prefill_flags.end(), {"--device", o.prefill_device});
  cluster.decode_flags.insert(cluster.decode_flags.end(), {"--device", o.decode_device});
  return cluster;
}

// Waits until the router's /ready answers 200: the nodes have joined.
absl::Status WaitReady(const std::string& url) {
  const absl::Time deadline = SystemClock::Get().Now() + absl::Seconds(10);
  while (true) {
    const auto reply = HttpGet(url, "/ready", absl::Seconds(2));
    if (reply.ok() && reply->status == 200) return absl::OkStatus();
    if (SystemClock::Get().Now() > deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("the nodes did not join: ",
                       reply.ok() ? reply->body : std::string(reply.status().message())));
    }
    usleep(5000);
  }
}

void PrintBanner(const Options& o, const LocalCluster& cluster, const std::string& url,
                 absl::Duration took) {
  std::printf("\nBaton is ready after %.2f s\n", absl::ToDoubleSeconds(took));
  std::printf("  model    %s\n", o.model.c_str());
  for (const auto& node : cluster.nodes()) {
    const auto value = [&node](const char* key) {
      const auto found = node.find(key);
      return found == node.end() ? std::string("?") : found->second;
    };
    std::printf("  %-8s %s, %s KV blocks\n", value("role").c_str(), value("device").c_str(),
                value("kv_blocks").c_str());
  }
  std::printf("  HTTP     %s/v1   gRPC %s\n\n", url.c_str(), cluster.router().at("grpc").c_str());
  std::printf(
      "Try:\n  curl -N %s/v1/chat/completions -H 'Content-Type: application/json' -d '"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"Why is the sky blue?\"}], "
      "\"model\": \"%s\", \"stream\": true}'\n\n",
      url.c_str(),
      o.served_model_name.empty() ? models::text::DefaultModelId(o.model).c_str()
                                  : o.served_model_name.c_str());
  std::fflush(stdout);
}

absl::Status ServeCluster(Options o) {
  if (o.model.empty()) return absl::InvalidArgumentError("--model is required");
  BATON_ASSIGN_OR_RETURN(o.model, ResolveModel(o.model));
  const absl::Time begin = SystemClock::Get().Now();
  LocalCluster cluster(ClusterOptions(o));
  BATON_RETURN_IF_ERROR(cluster.Start(absl::Minutes(10)));
  std::string http = cluster.router().at("http");
  if (absl::StartsWith(http, "0.0.0.0:")) http = absl::StrCat("127.0.0.1", http.substr(7));
  const std::string url = absl::StrCat("http://", http);
  BATON_RETURN_IF_ERROR(WaitReady(url));
  PrintBanner(o, cluster, url, SystemClock::Get().Now() - begin);
  absl::Status asked;
  std::atomic<bool> answered{false};
  std::thread question;
  if (!o.once.empty()) {
    question = std::thread([&] {
      asked = AskOnce(url, o.once, o.max_tokens);
      answered = true;
    });
  }
  const absl::Status ran = cluster.Run([&answered] { return answered.load(); });
  const absl::Status stopped =
      cluster.Stop(absl::Milliseconds(o.drain_timeout_ms) + absl::Seconds(5));
  if (question.joinable()) question.join();
  if (!ran.ok()) return ran;
  if (!asked.ok()) return asked;
  return stopped;
}

void AddOptions(CLI::App& command, Options& o) {
  command.add_option("--role", o.role,
                     "run only this process: router, prefill or decode; its own flags follow");
  command.add_option("--model", o.model,
                     "GGUF file, Hugging Face folder, or org/name in the Hugging Face cache");
  command.add_option("--served-model-name", o.served_model_name, "model id in the API");
  command.add_option("--host", o.host, "address of the HTTP API")->capture_default_str();
  command.add_option("--port", o.port, "port of the HTTP API; 0 takes a free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  command.add_option("--grpc-listen", o.grpc_listen, "host:port of the public gRPC API")
      ->capture_default_str();
  command.add_option("--prefill", o.prefill, "prefill nodes")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command.add_option("--decode", o.decode, "decode nodes")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command.add_option("--threads", o.threads, "compute threads a node; 0: the CPUs shared out")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command
      .add_option("--prefill-device", o.prefill_device, "cpu, p_chip, d_chip or plugin:LIBRARY.so")
      ->capture_default_str();
  command
      .add_option("--decode-device", o.decode_device, "cpu, p_chip, d_chip or plugin:LIBRARY.so")
      ->capture_default_str();
  command.add_option("--isa", o.isa, "force scalar, avx2, avxvnni, avx512vnni or amx");
  command.add_option("--kv-dtype", o.kv_dtype, "keys and values as f16 (default), bf16 or f32");
  command.add_option("--max-context,--max-model-len", o.max_context,
                     "most tokens of one sequence; 0: the model's, or what the KV pool holds");
  command.add_option("--kv-bytes", o.kv_bytes, "KV pool of a node in bytes; 0: by the machine");
  command.add_option("--block-tokens", o.block_tokens, "tokens in a KV block: 16, 32 or 64");
  command.add_option("--log-level", o.log_level, "debug, info, warn or error")
      ->capture_default_str();
  command
      .add_option("--drain-timeout-ms", o.drain_timeout_ms,
                  "how long a stop waits for running requests")
      ->check(CLI::Range(0, 600000))
      ->capture_default_str();
  command.add_option("--once", o.once,
                     "ask this one question, print the answer with its times, and stop");
  command.add_option("--max-tokens", o.max_tokens, "most output tokens with --once")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
}

}  // namespace

void AddServeCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "serve", "Serve a model: router, prefill and decode nodes on this machine, or one of them");
  AddOptions(*command, *options);
  command->allow_extras();
  command->callback([command, options, exit_code] {
    absl::Status status;
    const std::vector<std::string> rest = command->remaining();
    if (!options->role.empty()) {
      // Flags that this command knows too go to the role as well.
      std::vector<std::string> flags = rest;
      for (const CLI::Option* option : command->get_options()) {
        const std::string name = option->get_name();
        if (option->count() == 0 || name == "--role") continue;
        flags.insert(flags.end(), {name, option->as<std::string>()});
      }
      status = ExecRole(options->role, flags);
    } else if (!rest.empty()) {
      status =
          absl::InvalidArgumentError(absl::StrCat("unknown argument ", rest[0], " (see --help)"));
    } else {
      status = ServeCluster(*options);
    }
    if (status.ok() || absl::IsCancelled(status)) return;
    std::fprintf(stderr, "baton serve: %s\n", std::string(status.message()).c_str());
    *exit_code = absl::IsInvalidArgument(status) ? 2 : 1;
  });
}

}  // namespace baton::cli
