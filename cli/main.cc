// baton: serve, chat with, measure and check language models on prefill and decode nodes.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "bench/load/bench_command.h"
#include "cli/commands.h"

namespace {

// CLI11 would only say that a command is required.
bool KnowsCommand(const CLI::App& app, const std::string& word) {
  std::string known;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    if (command->get_name() == word) return true;
    known += (known.empty() ? "" : ", ") + command->get_name();
  }
  std::fprintf(stderr, "baton: unknown command '%s', known are: %s\n", word.c_str(), known.c_str());
  return false;
}

}  // namespace

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
  if (argc > 1 && argv[1][0] != '-' && !KnowsCommand(app, argv[1])) return 2;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return exit_code;
}
