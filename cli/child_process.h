// A child process whose output is read line by line.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace baton::cli {

// Dies with its parent (also when that is killed), and hears none of the terminal's signals: the
// parent stops it in order.
class ChildProcess {
 public:
  // Starts `arguments[0]` (a path). Unavailable when it cannot be started. Call on the main thread
  // only: the child dies with the thread that started it.
  static absl::StatusOr<ChildProcess> Start(std::string name, std::vector<std::string> arguments);

  const std::string& name() const { return name_; }
  const std::vector<std::string>& arguments() const { return arguments_; }
  // Read end of its standard output and error, non-blocking; -1 after its end.
  int output() const { return output_; }
  // Reads what is there and calls `on_line` for each complete line; closes the descriptor at the
  // end.
  void ReadOutput(const std::function<void(const std::string&)>& on_line);
  // Key=value pairs of its READY line; empty before it.
  const std::map<std::string, std::string>& ready() const { return ready_; }

  void Signal(int signal) const;
  // True once it ended; `exit_code` is then its code, or 128 + the signal that killed it.
  bool Ended(int* exit_code);

 private:
  void TakeLine(const std::string& line, const std::function<void(const std::string&)>& on_line);
  std::string name_;
  std::vector<std::string> arguments_;
  pid_t pid_ = -1;
  int output_ = -1;
  std::string partial_;
  std::map<std::string, std::string> ready_;
  bool ended_ = false;
  int exit_code_ = 0;
};

}  // namespace baton::cli
