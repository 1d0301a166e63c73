// The commands and flags of `baton` as CLI11 knows them: what help, completion and the man page are
// made from.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace baton::cli {

struct CommandNode {
  std::string path;  // "bench serve"; empty: `baton` itself
  CLI::App* app = nullptr;
};

// `root` and all commands below it, in the order in which they were added.
std::vector<CommandNode> AllCommands(CLI::App& root);
// The flags of a command that have a long name, --help among them.
std::vector<CLI::Option*> FlagsOf(const CLI::App& app);

// Help without the names of environment variables: one rule, said at the end of a command's help,
// replaces them. Call before commands are added.
void UseShortHelp(CLI::App& root);
// Gives each flag of the command that `line` calls ("bench serve --num-prompts 5") its environment
// variable, BATON_<COMMAND>_<FLAG>, and says so in the help of every command. Those of `baton
// serve` are BATON_<FLAG>, as those of the processes that it starts. Only of that command: CLI11
// would read, and refuse, the variables of all others too.
void NameEnvironmentVariables(CLI::App& root, const std::string& line);

}  // namespace baton::cli
