#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "cli/commands.h"
#include "cli/http_client.h"
#include "proto/grpc_status.h"
#include "server/tls.h"

namespace baton::cli {
namespace {

struct HealthOptions {
  std::string url;
  std::string grpc;
  std::string certs;
  bool insecure = false;
  int timeout_ms = 2000;
};

absl::Status CheckHttp(const HealthOptions& options) {
  BATON_ASSIGN_OR_RETURN(const HttpReply reply,
                         HttpGet(options.url, "/ready", absl::Milliseconds(options.timeout_ms)));
  if (reply.status == 200) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("HTTP ", reply.status, ": ", reply.body));
}

// grpc.health.v1.Health/Check of the whole server. The request is an empty message and the answer's
// first field is the status, 1 for SERVING
// (https://github.com/grpc/grpc/blob/master/doc/health-checking.md), so no generated code is
// needed.
absl::Status CheckGrpc(const HealthOptions& options) {
  BATON_ASSIGN_OR_RETURN(
      const auto credentials,
      server::ChannelCredentials({.certs_folder = options.certs, .insecure = options.insecure},
                                 options.grpc));
  grpc::GenericStub stub(grpc::CreateChannel(options.grpc, credentials));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(options.timeout_ms));
  grpc::ByteBuffer request(nullptr, 0), reply;
  std::mutex mutex;
  std::condition_variable wake;
  bool done = false;
  grpc::Status status;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request, &reply,
                 [&](grpc::Status result) {
                   std::lock_guard<std::mutex> lock(mutex);
                   status = std::move(result);
                   done = true;
                   wake.notify_one();
                 });
  std::unique_lock<std::mutex> lock(mutex);
  wake.wait(lock, [&done] { return done; });
  if (!status.ok()) return proto::FromGrpc(status);
  grpc::Slice bytes;
  const grpc::Status dumped = reply.DumpToSingleSlice(&bytes);
  const bool serving =
      dumped.ok() && bytes.size() == 2 && bytes.begin()[0] == 0x08 && bytes.begin()[1] == 0x01;
  return serving ? absl::OkStatus() : absl::UnavailableError("not serving");
}

}  // namespace

void AddHealthCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<HealthOptions>();
  CLI::App* command =
      app.add_subcommand("health", "Exit 0 when a process is ready (probe for containers)");
  auto* url = command->add_option("--url", options->url, "HTTP API of a router: asks /ready");
  command->add_option("--grpc", options->grpc, "host:port of a node: asks grpc.health.v1")
      ->excludes(url);
  command->add_option("--certs", options->certs, "folder with ca.pem, node.pem and node.key");
  command->add_flag("--insecure", options->insecure, "allow plaintext beyond loopback");
  command->add_option("--timeout-ms", options->timeout_ms, "time for the answer, ms")
      ->check(CLI::Range(1, 600000))
      ->capture_default_str();
  command->callback([options, exit_code] {
    absl::Status status = absl::InvalidArgumentError("needs --url or --grpc");
    if (!options->url.empty()) status = CheckHttp(*options);
    if (!options->grpc.empty()) status = CheckGrpc(*options);
    if (status.ok()) return;
    std::fprintf(stderr, "baton health: %s\n", std::string(status.message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace baton::cli
