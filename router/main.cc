// baton-router: the process that clients talk to.
#include <spdlog/spdlog.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "router/router_node.h"
#include "server/config.h"
#include "server/process.h"

namespace baton::router {
namespace {

int Main(int argc, char** argv) {
  server::BlockSignals();
  v1::RouterConfig config;
  int exit_code = 0;
  if (!server::ParseCommandLine(argc, argv,
                                "Baton's router: serves the API and sends each request to a "
                                "prefill node and a decode node.",
                                config, &exit_code)) {
    return exit_code;
  }
  server::StartLogging(config.process(), "baton-router");
  absl::StatusOr<std::unique_ptr<RouterNode>> node = RouterNode::Start(config);
  if (!node.ok()) return server::ExitCodeFor(node.status(), "baton-router");
  server::AnnounceReady(
      "router", absl::StrCat("http=", (*node)->http_address(), " grpc=", (*node)->grpc_address(),
                             " cluster=", (*node)->cluster_address()));
  const int signal = server::WaitForSignal();
  spdlog::info("draining after signal {}", signal);
  (*node)->StartDraining();
  const bool idle = server::WaitUntilIdle(absl::Milliseconds(config.process().drain_timeout_ms()),
                                          [&] { return (*node)->idle(); });
  if (!idle) spdlog::warn("running requests are cut off");
  const bool ended = (*node)->Stop();
  spdlog::info("stopped");
  spdlog::shutdown();
  if (!ended) std::_Exit(0);
  return 0;
}

}  // namespace
}  // namespace baton::router

int main(int argc, char** argv) { return baton::router::Main(argc, argv); }
