#include "cli/serve_options.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "cli/command_tree.h"
#include "engine/assembly.h"
#include "server/config.h"
#include "server/config_keys.h"

namespace baton::cli {
namespace {

using google::protobuf::Message;

// Shown by --help; the others are listed by `baton config`.
const std::set<std::string>& CommonKeys() {
  static const std::set<std::string> keys = {"config",
                                             "model",
                                             "served-model-name",
                                             "host",
                                             "port",
                                             "grpc-listen",
                                             "threads",
                                             "isa",
                                             "max-context",
                                             "kv-dtype",
                                             "kv-bytes",
                                             "log-level",
                                             "log-format",
                                             "disaggregate",
                                             "max-batch",
                                             "speculation",
                                             "drain-timeout-ms"};
  return keys;
}
// One process's own affair: `baton serve` chooses them for each.
constexpr const char* kOfOneProcess[] = {"router", "listen", "advertise", "node-id"};
constexpr char kOwn[] = "This machine";

std::vector<Message*> Messages(ServeOptions& o) {
  return {&o.prefill_config, &o.decode_config, &o.router};
}

Message* MessageOf(const std::string& role, ServeOptions& o) {
  if (role == "router") return &o.router;
  if (role == "prefill") return &o.prefill_config;
  return role == "decode" ? &o.decode_config : nullptr;
}

}  // namespace

void AddServeOptions(CLI::App& command, ServeOptions& o) {
  command.add_option("--role", o.role, "run only this process: router, prefill or decode")
      ->group(kOwn);
  command.add_option("--prefill", o.prefill, "prefill nodes")
      ->check(CLI::Range(1, 64))
      ->capture_default_str()
      ->group(kOwn);
  command.add_option("--decode", o.decode, "decode nodes")
      ->check(CLI::Range(1, 64))
      ->capture_default_str()
      ->group(kOwn);
  command
      .add_option("--prefill-device", o.prefill_device,
                  "chip of the prefill nodes (p_chip): cpu, p_chip, d_chip or plugin:LIBRARY.so")
      ->group(kOwn);
  command
      .add_option("--decode-device", o.decode_device,
                  "chip of the decode nodes (d_chip): cpu, p_chip, d_chip or plugin:LIBRARY.so")
      ->group(kOwn);
  command
      .add_option("--once", o.once,
                  "ask this one question, print the answer with its times, and stop")
      ->group(kOwn);
  command.add_option("--max-tokens", o.max_tokens, "most output tokens with --once")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->group(kOwn);
  command
      .add_option("--status-interval-s", o.status_interval_s,
                  "seconds between two status lines while there is work; 0: none")
      ->check(CLI::Range(0, 3600))
      ->capture_default_str()
      ->group(kOwn);
  // One machine's clusters must not fight for ports that nobody asked for.
  o.router.set_grpc_listen("127.0.0.1:0");
  o.router.set_cluster_listen("127.0.0.1:0");
  server::AddFlags(command, Messages(o));
  for (CLI::Option* option : FlagsOf(command)) {
    const bool shown = option->get_group() == kOwn || option->get_lnames()[0] == "help" ||
                       CommonKeys().count(option->get_lnames()[0]) > 0;
    if (!shown) option->group("");
  }
  command.footer(
      "Every other key of the configuration is a flag as well: baton config --markdown lists "
      "them.");
}

absl::Status FinishServeOptions(CLI::App& command, ServeOptions& o) {
  for (const char* name : kOfOneProcess) {
    const CLI::Option* option = command.get_option(absl::StrCat("--", name));
    if (option->count() == 0 || std::getenv(option->get_envname().c_str()) != nullptr) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--", name, " needs --role: each process has its own"));
  }
  BATON_RETURN_IF_ERROR(server::FinishConfig(command, Messages(o)));
  if (o.router.model().empty()) return absl::InvalidArgumentError("--model is required");
  if (!o.prefill_device.empty()) o.prefill_config.set_device(o.prefill_device);
  if (!o.decode_device.empty()) o.decode_config.set_device(o.decode_device);
  o.threads_asked = o.decode_config.node().threads();
  const int nodes = o.prefill + o.decode;
  for (v1::NodeConfig* node : {o.prefill_config.mutable_node(), o.decode_config.mutable_node()}) {
    if (node->threads() == 0) node->set_threads(std::max(1, engine::UsableCpus() / nodes));
    for (const char* name : {"router", "listen", "advertise", "node_id"}) {
      node->GetReflection()->ClearField(node, node->GetDescriptor()->FindFieldByName(name));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> RoleArguments(CLI::App& command, ServeOptions& o) {
  Message* message = MessageOf(o.role, o);
  if (message == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("--role ", o.role, ": needs router, prefill or decode"));
  }
  std::set<std::string> known = {"--config"};
  for (const server::Key& key : server::KeysOf(*message)) known.insert(server::DocOf(key).flag);
  std::vector<std::string> arguments;
  for (const CLI::Option* option : FlagsOf(command)) {
    const std::string flag = absl::StrCat("--", option->get_lnames()[0]);
    if (option->count() == 0 || flag == "--role") continue;
    const bool from_environment = std::getenv(option->get_envname().c_str()) != nullptr;
    if (known.count(flag) == 0) {
      if (from_environment) continue;  // meant for another process of the same environment
      return absl::InvalidArgumentError(
          absl::StrCat("a ", o.role, " has no flag ", flag, ": see baton config ", o.role));
    }
    const std::vector<std::string>& values = option->results();
    const bool bare = values.empty() || values.back().empty();
    arguments.push_back(flag);
    // A bare switch stays one; an empty text is a value.
    if (!bare) {
      arguments.back() += absl::StrCat("=", values.back());
    } else if (option->get_expected_min() > 0) {
      arguments.push_back("");
    }
  }
  return arguments;
}

}  // namespace baton::cli
