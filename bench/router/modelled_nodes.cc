// modelled_nodes: a cluster's worth of modelled nodes in one process, for a router to be measured
// with.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "bench/router/modelled_node.h"

namespace baton::bench {
namespace {

struct Options {
  std::string router = "127.0.0.1:8002";
  int prefill = 1;
  int decode = 1;
  ModelledSpeed speed;
};

void Run(const Options& options) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  auto wire = std::make_shared<ModelledWire>();
  std::vector<std::unique_ptr<ModelledNode>> nodes;
  for (int i = 0; i < options.prefill + options.decode; ++i) {
    const bool prefill = i < options.prefill;
    nodes.push_back(
        std::make_unique<ModelledNode>(prefill ? v1::NODE_ROLE_PREFILL : v1::NODE_ROLE_DECODE,
                                       (prefill ? "modelled-p" : "modelled-d") + std::to_string(i),
                                       options.speed, 77, "modelled", wire));
    nodes.back()->Join(options.router);
  }
  int signal = 0;
  sigwait(&signals, &signal);
}

}  // namespace
}  // namespace baton::bench

int main(int argc, char** argv) {
  baton::bench::Options options;
  CLI::App app("Nodes that sleep instead of computing, registered at a router.");
  app.add_option("--router", options.router, "the router's cluster address");
  app.add_option("--prefill", options.prefill, "prefill nodes");
  app.add_option("--decode", options.decode, "decode nodes");
  app.add_option("--prefill-rate", options.speed.prefill_tokens_per_s, "prompt tokens/s of a node");
  app.add_option("--step-ms", options.speed.step_ms, "a decode step without sequences, ms");
  app.add_option("--step-sequence-ms", options.speed.step_sequence_ms,
                 "added for each sequence, ms");
  app.add_option("--blocks", options.speed.blocks, "KV blocks of a node");
  CLI11_PARSE(app, argc, argv);
  baton::bench::Run(options);
  return 0;
}
