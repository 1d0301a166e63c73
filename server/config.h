// Configuration from flags, environment, file and defaults: one source of truth, the messages of
// proto/config.proto.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace CLI {
class App;
}

namespace baton::server {

// Adds to `app` a flag (--listen-port), with environment variable (BATON_LISTEN_PORT), for every
// scalar field of `message` and of its sub-messages, with help, range and default from
// config.proto; plus --config FILE (text format). The message is filled by FinishConfig. `app` and
// `message` must outlive the parsing.
void AddFlags(CLI::App& app, google::protobuf::Message& message);
// The same for what is configured by several messages: a key that more than one has is one flag.
void AddFlags(CLI::App& app, const std::vector<google::protobuf::Message*>& messages);

// After parsing: merges the file of --config under the flags and checks every range.
// InvalidArgument names the key, its value and what is allowed.
absl::Status FinishConfig(CLI::App& app, google::protobuf::Message& message);
// A key is set in every message that has it; the file may have the keys of all.
absl::Status FinishConfig(CLI::App& app, const std::vector<google::protobuf::Message*>& messages);

// The command line that gives another process the keys that are set in `message`: {"--port=0",
// ...}.
std::vector<std::string> FlagsOf(google::protobuf::Message& message);

// Parses a whole command line of a process that has no subcommands. When it returns false the
// process should exit with
// `*exit_code` (help or version was printed, or an error that is already on stderr; exit code 2 for
// a command line that does not parse, 78 for a value or a file that is refused).
bool ParseCommandLine(int argc, char** argv, const std::string& description,
                      google::protobuf::Message& message, int* exit_code);

}  // namespace baton::server
