// `baton man`: the manual page, from the commands and flags themselves.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cli/command_tree.h"
#include "cli/commands.h"

namespace baton::cli {
namespace {

// Text as roff takes it: a dash stays a dash, and no line begins as a request does.
std::string Escaped(const std::string& text) {
  std::string out = absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}});
  if (!out.empty() && (out[0] == '.' || out[0] == '\'')) out.insert(0, "\\&");
  return out;
}

std::string FlagEntry(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  for (std::string& name : names) name = absl::StrCat("\\fB", Escaped(name), "\\fR");
  const bool takes_value = option.get_expected_max() > 0;
  const std::string type = option.get_type_name();
  std::string text = absl::StrCat(".TP\n", absl::StrJoin(names, ", "));
  if (takes_value && !type.empty()) absl::StrAppend(&text, " \\fI", Escaped(type), "\\fR");
  absl::StrAppend(&text, "\n", Escaped(option.get_description()));
  if (!option.get_default_str().empty()) {
    absl::StrAppend(&text, " (default: ", Escaped(option.get_default_str()), ")");
  }
  return absl::StrCat(text, "\n");
}

std::string CommandSection(const CommandNode& node) {
  std::string text = absl::StrCat(".SS baton ", Escaped(node.path), "\n",
                                  Escaped(node.app->get_description()), ".\n");
  for (const CLI::Option* option : node.app->get_options()) {
    if (!option->get_positional()) continue;
    absl::StrAppend(&text, ".TP\n\\fI", Escaped(option->get_name(true)), "\\fR\n",
                    Escaped(option->get_description()), "\n");
  }
  for (const CLI::Option* option : FlagsOf(*node.app)) {
    if (option->get_lnames()[0] != "help") absl::StrAppend(&text, FlagEntry(*option));
  }
  return text;
}

constexpr char kTail[] = R"(.SH ENVIRONMENT
Each flag of a command is an environment variable too: BATON_, the command, the flag, in
capitals with underscores
(\fB\-\-num\-prompts\fR of \fBbaton bench serve\fR is BATON_BENCH_SERVE_NUM_PROMPTS). Those of
\fBbaton serve\fR and of the
processes that it starts have no command in their name (BATON_PORT). A flag wins over its
variable.
.TP
NO_COLOR
If set, nothing is coloured.
.SH EXIT STATUS
0 success; 1 failure; 2 a command line that does not parse or a value that is refused; 78 (of
the processes) a configuration
that is refused.
.SH EXAMPLES
.nf
baton serve \-\-model model.gguf
baton chat
baton top
baton bench serve \-\-num\-prompts 100 \-\-request\-rate 2
baton doctor \-\-url http://127.0.0.1:8000
.fi
)";

std::string Page(CLI::App& root, const std::string& version) {
  std::string text = absl::StrCat(
      ".TH BATON 1 \"\" \"Baton ", Escaped(version),
      "\" \"User Commands\"\n.SH NAME\nbaton \\- LLM inference with prefill and decode in separate "
      "processes\n.SH SYNOPSIS\n.B baton\n.I COMMAND\n.RI [ FLAGS ]\n.SH DESCRIPTION\n"
      "Baton serves large language models over an OpenAI\\-compatible API. Prefill nodes compute "
      "prompts, decode nodes write the\nanswers, a router sends each request to one of both.\n"
      ".SH COMMANDS\n");
  for (const CommandNode& node : AllCommands(root)) {
    if (!node.path.empty()) absl::StrAppend(&text, CommandSection(node));
  }
  return absl::StrCat(text, kTail);
}

}  // namespace

void AddManCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("man", "Print the manual page (baton man | man -l -)");
  command->callback([&app] { std::fputs(Page(app, BATON_VERSION).c_str(), stdout); });
}

}  // namespace baton::cli
