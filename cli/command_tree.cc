#include "cli/command_tree.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace baton::cli {
namespace {

class ShortHelp final : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override {
    std::string text = CLI::Formatter::make_option_opts(option);
    const std::string variable = absl::StrCat(" (Env:", option->get_envname(), ")");
    const size_t found = text.find(variable);
    if (found != std::string::npos) text.erase(found, variable.size());
    return text;
  }
};

void Collect(CLI::App& app, const std::string& path, std::vector<CommandNode>* nodes) {
  nodes->push_back({path, &app});
  for (CLI::App* command : app.get_subcommands(nullptr)) {
    Collect(*command, path.empty() ? command->get_name() : path + " " + command->get_name(), nodes);
  }
}

std::string VariableName(std::string text) {
  for (char& c : text) {
    c = c == '-' || c == ' ' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return text;
}

}  // namespace

std::vector<CommandNode> AllCommands(CLI::App& root) {
  std::vector<CommandNode> nodes;
  Collect(root, "", &nodes);
  return nodes;
}

std::vector<CLI::Option*> FlagsOf(const CLI::App& app) {
  std::vector<CLI::Option*> flags;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_lnames().empty()) flags.push_back(const_cast<CLI::Option*>(option));
  }
  return flags;
}

void UseShortHelp(CLI::App& root) {
  const auto formatter = std::make_shared<ShortHelp>();
  formatter->column_width(28);
  root.formatter(formatter);
}

void NameEnvironmentVariables(CLI::App& root, const std::string& line) {
  for (const CommandNode& node : AllCommands(root)) {
    if (node.path.empty()) continue;
    const bool called = absl::StartsWith(line + " ", node.path + " ");
    const std::string prefix =
        node.path == "serve" ? "BATON_" : VariableName("baton " + node.path + " ");
    std::string example;
    for (CLI::Option* option : FlagsOf(*node.app)) {
      const std::string& name = option->get_lnames()[0];
      if (name == "help") continue;
      const std::string variable = prefix + VariableName(name);
      if (called && option->get_envname().empty()) option->envname(variable);
      if (example.empty()) {
        example = absl::StrCat("Each flag is an environment variable too: --", name, " is ",
                               variable, ".");
      }
    }
    const std::string footer = node.app->get_footer();
    if (!example.empty()) node.app->footer(footer.empty() ? example : footer + "\n" + example);
  }
}

}  // namespace baton::cli
