// A router, prefill nodes and decode nodes as child processes of this one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cli/child_log.h"
#include "cli/child_process.h"

namespace baton::cli {

struct LocalClusterOptions {
  std::string program_folder;              // where baton-router, baton-prefill and baton-decode are
  std::vector<std::string> router_flags;   // besides the cluster address
  std::vector<std::string> prefill_flags;  // besides the router's address
  std::vector<std::string> decode_flags;
  int prefill = 1;
  int decode = 1;
  ChildLog* log = nullptr;  // hears the children's lines; null: only when something is wrong
};

// Driven by one thread, which also must have started it (ChildProcess). SIGINT, SIGTERM and SIGCHLD
// must be blocked.
class LocalCluster {
 public:
  explicit LocalCluster(LocalClusterOptions options);
  ~LocalCluster();  // kills what still runs

  // Starts the router, then all nodes at once, and returns when every process said that it is
  // ready. An error of a process that ended, with its last lines, or Cancelled on a signal.
  absl::Status Start(absl::Duration timeout);
  const std::map<std::string, std::string>& router() const { return children_[0].ready(); }
  std::vector<std::map<std::string, std::string>> nodes() const;

  // Passes output on and restarts nodes that died (at most five times each), until a signal comes
  // or `stop` returns true (polled every 50 ms). An error when the router died or a node died too
  // often.
  absl::Status Run(const std::function<bool()>& stop);
  // SIGTERM to the router, then, when it has ended, to the nodes; SIGKILL after `timeout` or at a
  // second signal. An error names the processes that did not end with code 0.
  absl::Status Stop(absl::Duration timeout);

 private:
  absl::Status StartChild(const std::string& name, const std::string& program,
                          std::vector<std::string> flags);
  // Waits up to 50 ms for output or a signal; returns the signal (0: none, SIGCHLD is swallowed).
  int Pump();
  void Show(ChildProcess& child, const std::string& line);
  absl::Status DeathOf(ChildProcess& child, int exit_code) const;
  absl::Status Restart(size_t index, int exit_code);
  std::vector<size_t> StopSome(size_t begin, size_t end, absl::Time deadline);

  const LocalClusterOptions options_;
  std::vector<ChildProcess> children_;         // the router first
  std::vector<int> restarts_;                  // of each
  std::vector<std::vector<std::string>> log_;  // last lines of each
  int signals_ = -1;                           // signalfd
};

}  // namespace baton::cli
