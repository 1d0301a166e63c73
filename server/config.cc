#include "server/config.h"

#include <CLI/CLI.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/config_file.h"
#include "server/config_keys.h"
#include "server/process.h"

namespace baton::server {
namespace {

using google::protobuf::Message;

// Const: CLI11 takes a string that is not for the variable to write the value to.
void AddFlag(CLI::App& app, const KeyDoc& doc) {
  const bool says_allowed = !doc.allowed.empty() && doc.type != "bool";
  const std::string help = says_allowed ? absl::StrCat(doc.help, " (", doc.allowed, ")") : doc.help;
  const std::string names = doc.alias.empty() ? doc.flag : absl::StrCat(doc.flag, ",", doc.alias);
  CLI::Option* option = app.add_option(names, help)->envname(doc.environment)->group(doc.section);
  if (doc.type == "bool") {
    // No default_str: CLI11 would take it for the value of a bare switch.
    option->expected(0, 1)->type_name(absl::StrCat("[BOOL]=", doc.default_value));
  } else {
    option->type_name(doc.type == "text" ? "TEXT" : "NUMBER")->default_str(doc.default_value);
  }
}

absl::Status SetFromOption(const CLI::Option& option, const Key& key) {
  if (option.count() > 0) {
    const std::vector<std::string>& values = option.results();
    const bool empty = values.empty() || (values.size() == 1 && values[0].empty());
    const bool bare = empty && DocOf(key).type == "bool";
    BATON_RETURN_IF_ERROR(SetValue(key, bare ? "true" : values.back()));
  }
  return CheckRange(key);
}

}  // namespace

void AddFlags(CLI::App& app, const std::vector<Message*>& messages) {
  app.add_option("--config", "Configuration file in Protobuf text format")
      ->type_name("FILE")
      ->envname("BATON_CONFIG");
  std::set<std::string> added;
  for (Message* message : messages) {
    for (const Key& key : KeysOf(*message)) {
      const KeyDoc doc = DocOf(key);
      if (added.insert(doc.name).second) AddFlag(app, doc);
    }
  }
}

void AddFlags(CLI::App& app, Message& message) { AddFlags(app, std::vector<Message*>{&message}); }

absl::Status FinishConfig(CLI::App& app, const std::vector<Message*>& messages) {
  const CLI::Option* config = app.get_option("--config");
  if (config->count() > 0) {
    BATON_RETURN_IF_ERROR(MergeConfigFile(config->as<std::string>(), messages));
  }
  for (Message* message : messages) {
    for (const Key& key : KeysOf(*message)) {
      BATON_RETURN_IF_ERROR(SetFromOption(*app.get_option(DocOf(key).flag), key));
    }
  }
  return absl::OkStatus();
}

absl::Status FinishConfig(CLI::App& app, Message& message) {
  return FinishConfig(app, std::vector<Message*>{&message});
}

std::vector<std::string> FlagsOf(Message& message) {
  std::vector<std::string> flags;
  for (const Key& key : KeysOf(message)) {
    if (!IsSet(key)) continue;
    const KeyDoc doc = DocOf(key);
    if (doc.default_value.empty()) {
      flags.insert(flags.end(), {doc.flag, ""});
    } else {
      flags.push_back(absl::StrCat(doc.flag, "=", doc.default_value));
    }
  }
  return flags;
}

bool ParseCommandLine(int argc, char** argv, const std::string& description, Message& message,
                      int* exit_code) {
  CLI::App app(description);
  app.set_version_flag("--version", "baton " BATON_VERSION);
  AddFlags(app, message);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    *exit_code = code == 0 ? 0 : 2;
    return false;
  }
  const absl::Status status = FinishConfig(app, message);
  if (!status.ok()) {
    *exit_code = ExitCodeFor(status, argv[0]);
    return false;
  }
  return true;
}

}  // namespace baton::server
