// The configuration file: Protobuf text format, keys as flat as flags.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace baton::server {

// Merges the file at `path` into `message`. Keys of sub-messages (log_level of process) stand at
// the top level, as flags do; the nested form (process { log_level: "debug" }) is accepted too.
// NotFound: the file cannot be read. InvalidArgument: syntax, a type, or a key that no message has
// (line and column).
absl::Status MergeConfigFile(const std::string& path, google::protobuf::Message& message);
// One file for several processes: each message takes the keys that it has.
absl::Status MergeConfigFile(const std::string& path,
                             const std::vector<google::protobuf::Message*>& messages);

}  // namespace baton::server
