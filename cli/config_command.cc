// `baton config`: the configuration manual, from proto/config.proto.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "cli/commands.h"
#include "proto/config.pb.h"
#include "server/config_keys.h"

namespace baton::cli {
namespace {

using server::KeyDoc;

struct Processes {
  v1::RouterConfig router;
  v1::PrefillConfig prefill;
  v1::DecodeConfig decode;
  v1::AnyConfig any;
};

std::vector<KeyDoc> DocsOf(google::protobuf::Message& message) {
  std::vector<KeyDoc> docs;
  for (const server::Key& key : server::KeysOf(message)) docs.push_back(server::DocOf(key));
  return docs;
}

// A file with every key at its default, commented out: what somebody changes, they uncomment.
std::string Template(const std::string& role, google::protobuf::Message& message) {
  std::string text = absl::StrCat("# Configuration of baton-", role,
                                  ": uncomment what you change. Read by --config FILE.\n");
  std::string section;
  for (const KeyDoc& doc : DocsOf(message)) {
    if (doc.section != section) absl::StrAppend(&text, "\n# ---- ", doc.section, "\n");
    section = doc.section;
    const bool quoted = doc.type == "text";
    absl::StrAppend(&text, "# ", doc.help, doc.allowed.empty() ? "" : " (", doc.allowed,
                    doc.allowed.empty() ? "" : ")", "\n#", doc.name, ": ", quoted ? "\"" : "",
                    doc.default_value, quoted ? "\"" : "", "\n");
  }
  return text;
}

constexpr char kHead[] = R"(# Configuration

Every key of every process, written by `scripts/docs` (`baton config --markdown`) from
`proto/config.proto`. A key is at once a line of the file that `--config FILE` names
(`lease_timeout_ms: 5000`, Protobuf's text format, text in quotes), a flag (`--lease-timeout-ms
5000`) and an environment variable (`BATON_LEASE_TIMEOUT_MS=5000`). A flag wins over the
environment, that over the file, that over the default. A key that is not known, or a value that
is not allowed, is refused at start by name, with exit code 78 (2 for a command line that does not
parse).

`baton config router`, `baton config prefill` and `baton config decode` print a file with all keys
of that process to begin with. `baton serve` takes the keys of all three, and gives each process
those that it has; what it chooses otherwise than they do: a free port for `grpc_listen` and
`cluster_listen`, and `threads` so that all nodes together use every CPU once.
)";

struct Section {
  const char* name;
  const char* title;
};
constexpr Section kSections[] = {
    {"Process", "Every process"},
    {"Node", "Prefill and decode nodes"},
    {"Prefill", "Prefill nodes"},
    {"Decode", "Decode nodes"},
    {"Any", "Nodes of role any"},
    {"Router", "Router"},
    {"Scheduler", "Router: where a request runs"},
    {"Admission", "Router: who begins, who waits, who is turned away"},
    {"Roles", "Router: when nodes of role any move"},
};

std::string Cell(const std::string& text) { return absl::StrReplaceAll(text, {{"|", "\\|"}}); }

std::string Row(const KeyDoc& doc) {
  const std::string value =
      doc.default_value.empty() ? "" : absl::StrCat("`", doc.default_value, "`");
  const std::string alias = doc.alias.empty() ? "" : absl::StrCat(", `", doc.alias, "`");
  return absl::StrCat("| `", doc.name, "` | ", Cell(doc.help), " | ", doc.type, " | ", value, " | ",
                      Cell(doc.allowed), " | `", doc.flag, "`", alias, " | `", doc.environment,
                      "` |\n");
}

std::string Markdown() {
  Processes processes;
  std::string text = kHead;
  std::set<std::string> written;
  for (const Section& section : kSections) {
    absl::StrAppend(&text, "\n## ", section.title,
                    "\n\n| key | meaning | type | default | allowed | flag | environment |\n"
                    "| --- | --- | --- | --- | --- | --- | --- |\n");
    for (google::protobuf::Message* message : std::vector<google::protobuf::Message*>{
             &processes.router, &processes.prefill, &processes.decode, &processes.any}) {
      for (const KeyDoc& doc : DocsOf(*message)) {
        const bool fresh =
            doc.section == section.name && written.insert(section.name + doc.name).second;
        if (fresh) absl::StrAppend(&text, Row(doc));
      }
    }
  }
  return text;
}

}  // namespace

void AddConfigCommand(CLI::App& app, int* exit_code) {
  struct Options {
    std::string role;
    bool markdown = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("config", "Print a configuration file with every key and its default");
  command->add_option("role", options->role, "router, prefill, decode or any")
      ->check(CLI::IsMember({"router", "prefill", "decode", "any"}));
  command->add_flag("--markdown", options->markdown, "the reference of all keys instead");
  command->callback([options, exit_code] {
    Processes processes;
    std::string text;
    if (options->markdown) {
      text = Markdown();
    } else if (options->role == "router") {
      text = Template(options->role, processes.router);
    } else if (options->role == "prefill") {
      text = Template(options->role, processes.prefill);
    } else if (options->role == "decode") {
      text = Template(options->role, processes.decode);
    } else if (options->role == "any") {
      text = Template(options->role, processes.any);
    } else {
      std::fprintf(stderr, "baton config: needs router, prefill, decode or any, or --markdown\n");
      *exit_code = 2;
      return;
    }
    std::fputs(text.c_str(), stdout);
  });
}

}  // namespace baton::cli
