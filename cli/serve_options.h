// What `baton serve` was asked for: the keys of the three processes, and its own flags.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/config.pb.h"

namespace CLI {
class App;
}

namespace baton::cli {

struct ServeOptions {
  std::string role;  // run one process instead of all
  int prefill = 1, decode = 1;
  std::string prefill_device, decode_device;
  std::string once;
  int max_tokens = 256;
  int status_interval_s = 10;
  int threads_asked = 0;  // 0: nobody asked; the CPUs are shared out

  v1::RouterConfig router;
  v1::PrefillConfig prefill_config;
  v1::DecodeConfig decode_config;
};

// Adds its own flags and all keys of the three messages; help shows the ones that one machine
// mostly needs.
void AddServeOptions(CLI::App& command, ServeOptions& options);

// After parsing, without --role: fills the three messages. InvalidArgument: a key or file that is
// refused, a model that is missing, or a key that only makes sense for one process.
absl::Status FinishServeOptions(CLI::App& command, ServeOptions& options);

// After parsing, with --role: the command line of that process. InvalidArgument: no such role, or a
// flag that it has not.
absl::StatusOr<std::vector<std::string>> RoleArguments(CLI::App& command, ServeOptions& options);

}  // namespace baton::cli
