// baton: serve, chat with, measure and check language models on prefill and decode nodes.
#include <CLI/CLI.hpp>

#include "bench/load/bench_command.h"
#include "cli/commands.h"

int main(int argc, char** argv) {
  CLI::App app("Baton: LLM inference with prefill and decode in separate processes");
  app.set_version_flag("--version", "baton " BATON_VERSION);
  app.require_subcommand(1);
  int exit_code = 0;
  baton::cli::AddServeCommand(app, &exit_code);
  baton::cli::AddChatCommand(app, &exit_code);
  baton::cli::AddDoctorCommand(app, &exit_code);
  baton::cli::AddChipsCommand(app, &exit_code);
  baton::cli::AddHealthCommand(app, &exit_code);
  baton::cli::AddCertsCommand(app, &exit_code);
  baton::bench::AddBenchCommand(app, &exit_code);
  baton::cli::AddScoreCommand(app, &exit_code);
  baton::cli::AddPerplexityCommand(app, &exit_code);
  app.get_subcommand("serve")->group("Serve");
  app.get_subcommand("health")->group("Serve");
  app.get_subcommand("certs")->group("Serve");
  app.get_subcommand("doctor")->group("Serve");
  app.get_subcommand("chips")->group("Check models");
  app.get_subcommand("chat")->group("Use");
  app.get_subcommand("bench")->group("Use");
  app.get_subcommand("score")->group("Check models");
  app.get_subcommand("perplexity")->group("Check models");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return exit_code;
}
