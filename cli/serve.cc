// `baton serve`: a whole cluster on this machine, or one process of one.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "cli/child_log.h"
#include "cli/commands.h"
#include "cli/http_client.h"
#include "cli/local_cluster.h"
#include "cli/model_path.h"
#include "cli/once.h"
#include "cli/serve_banner.h"
#include "cli/serve_options.h"
#include "cli/status_line.h"
#include "device/device_factory.h"
#include "device/paged_kv.h"
#include "engine/assembly.h"
#include "models/model_registry.h"
#include "models/text/folder_texts.h"
#include "server/config.h"

namespace baton::cli {
namespace {

std::string ProgramFolder() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
}

// Becomes the process of one role; returns only when that fails.
absl::Status ExecRole(CLI::App& command, ServeOptions& o) {
  BATON_ASSIGN_OR_RETURN(std::vector<std::string> arguments, RoleArguments(command, o));
  arguments.insert(arguments.begin(), absl::StrCat(ProgramFolder(), "/baton-", o.role));
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  return absl::NotFoundError(absl::StrCat(arguments[0], ": ", std::strerror(errno)));
}

LocalClusterOptions ClusterOptions(ServeOptions& o, ChildLog* log) {
  return {.program_folder = ProgramFolder(),
          .router_flags = server::FlagsOf(o.router),
          .prefill_flags = server::FlagsOf(o.prefill_config),
          .decode_flags = server::FlagsOf(o.decode_config),
          .prefill = o.prefill,
          .decode = o.decode,
          .log = log};
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

int64_t SizeOf(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path)) {
    const auto bytes = std::filesystem::file_size(path, error);
    return error ? 0 : static_cast<int64_t>(bytes);
  }
  int64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (entry.is_regular_file(error)) bytes += static_cast<int64_t>(entry.file_size(error));
  }
  return bytes;
}

BannerFacts FactsOf(const ServeOptions& o, const LocalCluster& cluster, const std::string& url) {
  const v1::NodeConfig& node = o.decode_config.node();
  BannerFacts facts;
  facts.version = BATON_VERSION;
  facts.model = o.router.model();
  facts.model_id = o.router.served_model_name().empty() ? models::text::DefaultModelId(facts.model)
                                                        : o.router.served_model_name();
  facts.model_bytes = SizeOf(facts.model);
  facts.block_tokens = node.block_tokens();
  const auto config = models::ReadModelConfig(facts.model);
  const auto dtype = engine::KvDType(node.kv_dtype());
  facts.family = config.ok() ? config->architecture : std::string(config.status().message());
  if (config.ok() && dtype.ok()) {
    facts.block_bytes = device::KvGeometry{.layers = config->layers,
                                           .kv_heads = config->kv_heads,
                                           .head_dim = config->head_dim,
                                           .block_tokens = node.block_tokens(),
                                           .dtype = *dtype,
                                           .latent_dim = config->kv_latent_dim}
                            .BlockBytesTotal();
  }
  facts.kv_bytes = node.kv_bytes();
  facts.isa = node.isa();
  facts.isa_levels = device::AvailableIsaLevels();
  facts.cpus = engine::UsableCpus();
  facts.threads = o.threads_asked;
  facts.nodes = cluster.nodes();
  facts.url = url;
  facts.grpc = cluster.router().at("grpc");
  return facts;
}

// Writes a line about the cluster's work every `interval`, and one more when the work has ended.
class StatusReporter {
 public:
  StatusReporter(std::string url, absl::Duration interval, ChildLog& log)
      : thread_([this, url = std::move(url), interval, &log] { Run(url, interval, log); }) {}
  ~StatusReporter() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopped_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

 private:
  void Run(const std::string& url, absl::Duration interval, ChildLog& log) {
    std::optional<MetricsPage> before;
    bool said_idle = true;
    while (true) {
      auto now = FetchMetrics(url, absl::Seconds(2));
      if (now.ok() && before) {
        const bool active = IsActive(*before, *now);
        if (active || !said_idle) log.Write("serve", StatusLine(*before, *now));
        said_idle = !active;
      }
      if (now.ok()) before = *std::move(now);
      std::unique_lock<std::mutex> lock(mutex_);
      if (wake_.wait_for(lock, absl::ToChronoMilliseconds(interval), [this] { return stopped_; })) {
        return;
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopped_ = false;
  std::thread thread_;
};

absl::Status ServeCluster(CLI::App& command, ServeOptions& o) {
  BATON_RETURN_IF_ERROR(FinishServeOptions(command, o));
  // The children have their keys as flags; each would refuse those of the others in the file.
  unsetenv("BATON_CONFIG");
  BATON_ASSIGN_OR_RETURN(const std::string model, ResolveModel(o.router.model()));
  o.router.set_model(model);
  o.prefill_config.mutable_node()->set_model(model);
  o.decode_config.mutable_node()->set_model(model);
  ChildLog log(o.router.process().log_format() == "json", isatty(STDERR_FILENO) != 0, stderr);
  const absl::Time begin = SystemClock::Get().Now();
  LocalCluster cluster(ClusterOptions(o, o.once.empty() ? &log : nullptr));
  BATON_RETURN_IF_ERROR(cluster.Start(absl::Minutes(10)));
  std::string http = cluster.router().at("http");
  if (absl::StartsWith(http, "0.0.0.0:")) http = absl::StrCat("127.0.0.1", http.substr(7));
  const std::string url = absl::StrCat("http://", http);
  BATON_RETURN_IF_ERROR(WaitReady(url));
  BannerFacts facts = FactsOf(o, cluster, url);
  facts.took = SystemClock::Get().Now() - begin;
  std::fputs(Banner(facts).c_str(), stdout);
  std::fflush(stdout);
  absl::Status asked;
  std::atomic<bool> answered{false};
  std::thread question;
  if (!o.once.empty()) {
    question = std::thread([&] {
      asked = AskOnce(url, o.once, o.max_tokens);
      answered = true;
    });
  }
  std::optional<StatusReporter> reporter;
  if (o.once.empty() && o.status_interval_s > 0) {
    reporter.emplace(url, absl::Seconds(o.status_interval_s), log);
  }
  const absl::Status ran = cluster.Run([&answered] { return answered.load(); });
  reporter.reset();
  const absl::Duration drain = absl::Milliseconds(o.router.process().drain_timeout_ms());
  const absl::Status stopped = cluster.Stop(drain + absl::Seconds(5));
  if (question.joinable()) question.join();
  if (!ran.ok()) return ran;
  if (!asked.ok()) return asked;
  return stopped;
}

}  // namespace

void AddServeCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = app.add_subcommand(
      "serve", "Serve a model: router, prefill and decode nodes on this machine, or one of them");
  AddServeOptions(*command, *options);
  command->callback([command, options, exit_code] {
    const absl::Status status =
        options->role.empty() ? ServeCluster(*command, *options) : ExecRole(*command, *options);
    if (status.ok() || absl::IsCancelled(status)) return;
    std::fprintf(stderr, "baton serve: %s\n", std::string(status.message()).c_str());
    *exit_code = absl::IsInvalidArgument(status) ? 2 : 1;
  });
}

}  // namespace baton::cli
