#include "cli/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace baton::cli {
namespace {

// "BATON READY role=x key=value key="a b" ..." to pairs.
std::map<std::string, std::string> ParseReady(const std::string& line) {
  std::map<std::string, std::string> pairs;
  size_t at = 0;
  while ((at = line.find('=', at)) != std::string::npos) {
    const size_t key = line.rfind(' ', at) + 1;
    const bool quoted = at + 1 < line.size() && line[at + 1] == '"';
    const size_t begin = at + (quoted ? 2 : 1);
    const size_t end = std::min(line.find(quoted ? '"' : ' ', begin), line.size());
    pairs[line.substr(key, at - key)] = line.substr(begin, end - begin);
    at = end;
  }
  return pairs;
}

// In the child, between fork and exec: only async-signal-safe calls.
[[noreturn]] void RunChild(char* const* argv, int output, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before prctl took effect
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  execv(argv[0], argv);
  _exit(127);
}

}  // namespace

absl::StatusOr<ChildProcess> ChildProcess::Start(std::string name,
                                                 std::vector<std::string> arguments) {
  if (access(arguments[0].c_str(), X_OK) != 0) {
    return absl::NotFoundError(absl::StrCat(arguments[0], ": no such program (build it first)"));
  }
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) {
    return absl::UnavailableError(absl::StrCat("pipe: ", std::strerror(errno)));
  }
  fcntl(pipe_ends[0], F_SETFL, O_NONBLOCK);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) RunChild(argv.data(), pipe_ends[1], parent);
  close(pipe_ends[1]);
  if (pid < 0) {
    close(pipe_ends[0]);
    return absl::UnavailableError(absl::StrCat("fork: ", std::strerror(errno)));
  }
  ChildProcess child;
  child.name_ = std::move(name);
  child.arguments_ = std::move(arguments);
  child.pid_ = pid;
  child.output_ = pipe_ends[0];
  return child;
}

void ChildProcess::TakeLine(const std::string& line,
                            const std::function<void(const std::string&)>& on_line) {
  if (absl::StartsWith(line, "BATON READY ")) {
    ready_ = ParseReady(line);
  } else {
    on_line(line);
  }
}

void ChildProcess::ReadOutput(const std::function<void(const std::string&)>& on_line) {
  char bytes[4096];
  ssize_t got;
  while ((got = read(output_, bytes, sizeof(bytes))) > 0) {
    partial_.append(bytes, static_cast<size_t>(got));
    size_t end;
    while ((end = partial_.find('\n')) != std::string::npos) {
      TakeLine(partial_.substr(0, end), on_line);
      partial_.erase(0, end + 1);
    }
  }
  if (got == 0) {
    if (!partial_.empty()) TakeLine(partial_, on_line);
    partial_.clear();
    close(output_);
    output_ = -1;
  }
}

void ChildProcess::Signal(int signal) const {
  if (!ended_) kill(pid_, signal);
}

bool ChildProcess::Ended(int* exit_code) {
  int status = 0;
  if (!ended_ && waitpid(pid_, &status, WNOHANG) == pid_) {
    ended_ = true;
    exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  *exit_code = exit_code_;
  return ended_;
}

}  // namespace baton::cli
