#include "bench/load/bench_command.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "bench/load/serve_benchmark.h"
#include "bench/load/serve_options.h"
#include "bench/machine/machine_command.h"
#include "bench/model/model_command.h"

namespace baton::bench {

void AddBenchCommand(CLI::App& app, int* exit_code) {
  CLI::App* bench = app.add_subcommand("bench", "Measure a server or a model");
  bench->require_subcommand(1);
  CLI::App* serve = bench->add_subcommand(
      "serve", "Load an OpenAI-compatible server and report latency percentiles and throughput");
  auto options = std::make_shared<ServeOptions>();
  AddServeOptions(*serve, *options);
  serve->callback([options, exit_code] {
    const absl::StatusOr<LoadMetrics> metrics = RunServeBenchmark(*options, std::cout);
    if (!metrics.ok()) {
      std::cerr << "baton bench serve: " << metrics.status().message() << "\n";
      *exit_code = 1;
      return;
    }
    *exit_code = metrics->completed > 0 ? 0 : 1;
  });
  AddModelCommand(*bench, exit_code);
  AddMachineCommand(*bench);
}

}  // namespace baton::bench
