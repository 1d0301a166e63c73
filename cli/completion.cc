// `baton completion`: what a shell needs to complete commands, flags and their values.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/command_tree.h"
#include "cli/commands.h"

namespace baton::cli {
namespace {

// "{a,b}" of a type's text ("TEXT:{a,b}"), or "(a, b)" at the end of a help text that lists nothing
// but words.
std::vector<std::string> ValuesOf(const CLI::Option& option) {
  const std::string type = option.get_type_name(), help = option.get_description();
  const size_t brace = type.find('{');
  if (brace != std::string::npos) {
    return absl::StrSplit(type.substr(brace + 1, type.find('}') - brace - 1), ',');
  }
  const size_t bracket = help.rfind('(');
  if (bracket == std::string::npos || help.back() != ')') return {};
  const std::string inside = help.substr(bracket + 1, help.size() - bracket - 2);
  std::vector<std::string> values = absl::StrSplit(inside, ", ");
  if (values.size() < 2) return {};
  for (const std::string& value : values) {
    if (value.find(' ') != std::string::npos) return {};
  }
  if (values[0] == "\"\"") values.erase(values.begin());
  return values;
}

std::vector<std::string> Words(const CommandNode& node) {
  std::vector<std::string> words;
  for (const CLI::App* command : node.app->get_subcommands(nullptr)) {
    words.push_back(command->get_name());
  }
  for (const CLI::Option* option : node.app->get_options()) {
    const std::vector<std::string> values =
        option->get_positional() ? ValuesOf(*option) : std::vector<std::string>();
    words.insert(words.end(), values.begin(), values.end());
  }
  for (const CLI::Option* option : FlagsOf(*node.app)) {
    for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  }
  return words;
}

// Cases of a shell function: the words of each command, the values of each of its flags.
std::string Cases(CLI::App& root) {
  std::string text = "  case \"$path\" in\n";
  for (const CommandNode& node : AllCommands(root)) {
    absl::StrAppend(&text, "    \"", node.path, "\")\n      words=\"",
                    absl::StrJoin(Words(node), " "), "\"\n      case \"$flag\" in\n");
    for (const CLI::Option* option : FlagsOf(*node.app)) {
      const std::vector<std::string> values = ValuesOf(*option);
      std::vector<std::string> names;
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
      if (!values.empty()) {
        absl::StrAppend(&text, "        ", absl::StrJoin(names, "|"), ") words=\"",
                        absl::StrJoin(values, " "), "\" ;;\n");
      } else if (option->get_expected_min() > 0 && option->get_lnames()[0] != "help") {
        absl::StrAppend(&text, "        ", absl::StrJoin(names, "|"), ") words= files=1 ;;\n");
      }
    }
    absl::StrAppend(&text, "      esac ;;\n");
  }
  return absl::StrCat(text, "  esac\n");
}

std::string Commands(CLI::App& root) {
  std::vector<std::string> paths;
  for (const CommandNode& node : AllCommands(root)) {
    if (!node.path.empty()) paths.push_back(absl::StrCat("\"", node.path, "\""));
  }
  return absl::StrJoin(paths, "|");
}

// Walks the words before the cursor: `path` is the command that they name, `flag` the flag whose
// value is asked for. Both shells run it; arrays begin at 0 in bash and at 1 in zsh, so the words
// come as arguments.
std::string SharedPart(CLI::App& root) {
  return absl::StrCat(R"(_baton_words() {
  path= flag= words= files=
  local word
  for word in "$@"; do
    case "${path:+$path }$word" in
      )",
                      Commands(root), R"() path="${path:+$path }$word" ;;
    esac
    flag=
    case "$word" in --*) flag="$word" ;; esac
  done
)",
                      Cases(root), "}\n");
}

std::string BashScript(CLI::App& root) {
  return absl::StrCat("# bash completion of baton.   source <(baton completion bash)\n",
                      SharedPart(root), R"(_baton() {
  local path flag words files current="${COMP_WORDS[COMP_CWORD]}"
  _baton_words "${COMP_WORDS[@]:1:COMP_CWORD-1}"
  if [ -n "$files" ]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
    compopt -o filenames 2>/dev/null
  else
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  fi
}
complete -F _baton baton
)");
}

std::string ZshScript(CLI::App& root) {
  return absl::StrCat(
      "#compdef baton\n# zsh completion of baton.   source <(baton completion zsh)\n",
      SharedPart(root), R"(_baton() {
  local path flag words files
  local -a before
  before=("${(@)words_typed}")
  _baton_words "${before[@]}"
  if [[ -n "$files" ]]; then _files; else compadd -- ${=words}; fi
}
_baton_main() {
  local -a words_typed
  words_typed=("${(@)words[2,CURRENT-1]}")
  _baton
}
compdef _baton_main baton
)");
}

}  // namespace

void AddCompletionCommand(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("completion", "Print a script that completes baton's commands in a shell");
  command->add_option("shell", *shell, "bash or zsh")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}));
  command->callback([&app, shell] {
    const std::string script = *shell == "bash" ? BashScript(app) : ZshScript(app);
    std::fputs(script.c_str(), stdout);
  });
}

}  // namespace baton::cli
