// baton: serve, chat with, measure and check language models on prefill and decode nodes.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "bench/load/bench_command.h"
#include "cli/command_tree.h"
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

// The words before the first flag: the command.
std::string CalledCommand(int argc, char** argv) {
  std::string line;
  for (int i = 1; i < argc && argv[i][0] != '-'; ++i)
    line += (i > 1 ? " " : "") + std::string(argv[i]);
  return line;
}

struct Group {
  const char* name;
  std::vector<const char*> commands;
};

void AddCommands(CLI::App& app, int* exit_code) {
  baton::cli::AddServeCommand(app, exit_code);
  baton::cli::AddConfigCommand(app, exit_code);
  baton::cli::AddCertsCommand(app, exit_code);
  baton::cli::AddHealthCommand(app, exit_code);
  baton::cli::AddTopCommand(app, exit_code);
  baton::cli::AddDoctorCommand(app, exit_code);
  baton::cli::AddChatCommand(app, exit_code);
  baton::bench::AddBenchCommand(app, exit_code);
  baton::cli::AddScoreCommand(app, exit_code);
  baton::cli::AddPerplexityCommand(app, exit_code);
  baton::cli::AddChipsCommand(app, exit_code);
  baton::cli::AddCompletionCommand(app);
  baton::cli::AddManCommand(app);
  const Group groups[] = {{"Serve", {"serve", "config", "certs"}},
                          {"Watch", {"top", "doctor", "health"}},
                          {"Use", {"chat", "bench"}},
                          {"Check models", {"score", "perplexity", "chips"}},
                          {"Shell", {"completion", "man"}}};
  for (const Group& group : groups) {
    for (const char* command : group.commands) app.get_subcommand(command)->group(group.name);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Baton: LLM inference with prefill and decode in separate processes", "baton");
  baton::cli::UseShortHelp(app);
  app.set_version_flag("--version", "baton " BATON_VERSION);
  app.require_subcommand(1);
  int exit_code = 0;
  AddCommands(app, &exit_code);
  app.footer("baton COMMAND --help says more of a command, baton man everything.");
  baton::cli::NameEnvironmentVariables(app, CalledCommand(argc, argv));
  if (argc > 1 && argv[1][0] != '-' && !KnowsCommand(app, argv[1])) return 2;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return exit_code;
}
