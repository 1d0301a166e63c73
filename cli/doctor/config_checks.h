// A configuration: would the process that it is for start with it on this machine.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "cli/doctor/finding.h"
#include "cli/doctor/model_checks.h"
#include "proto/config.pb.h"

namespace baton::cli {

// "host:port" can be listened on by a new process. `key` names it in the finding.
void CheckListen(const std::string& key, const std::string& address, Findings* findings);

// A folder of certificates: its files, its holder's role, how long it is valid from `now` on.
// `role` and `node_id` may be empty.
void CheckCertificates(const std::string& folder, const std::string& role,
                       const std::string& node_id, absl::Time now, Findings* findings);

// The file of --config for one role ("router", "prefill", "decode"), with the model, ports and
// certificates that it names.
void CheckConfigFile(const std::string& path, const std::string& role, int64_t memory_available,
                     absl::Time now, Findings* findings);

}  // namespace baton::cli
