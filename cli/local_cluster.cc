#include "cli/local_cluster.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/status_macros.h"

namespace baton::cli {
namespace {

constexpr int kPollMs = 50;
constexpr int kRestartsMax = 5;
constexpr size_t kLogLines = 20;

sigset_t WatchedSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGCHLD);
  return signals;
}

}  // namespace

LocalCluster::LocalCluster(LocalClusterOptions options) : options_(std::move(options)) {
  const sigset_t signals = WatchedSignals();
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  signals_ = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

LocalCluster::~LocalCluster() {
  for (ChildProcess& child : children_) child.Signal(SIGKILL);
  close(signals_);
}

absl::Status LocalCluster::StartChild(const std::string& name, const std::string& program,
                                      std::vector<std::string> flags) {
  flags.insert(flags.begin(), absl::StrCat(options_.program_folder, "/", program));
  BATON_ASSIGN_OR_RETURN(ChildProcess child, ChildProcess::Start(name, std::move(flags)));
  children_.push_back(std::move(child));
  restarts_.push_back(0);
  log_.emplace_back();
  return absl::OkStatus();
}

absl::Status LocalCluster::Start(absl::Duration timeout) {
  const absl::Time deadline = SystemClock::Get().Now() + timeout;
  BATON_RETURN_IF_ERROR(StartChild("router", "baton-router", options_.router_flags));
  const size_t total = 1 + static_cast<size_t>(options_.prefill + options_.decode);
  while (true) {
    if (children_.size() == 1 && !router().empty()) {
      const std::vector<std::string> address = {"--router", router().at("cluster")};
      for (int i = 0; i < options_.prefill + options_.decode; ++i) {
        const bool prefill = i < options_.prefill;
        const std::string name =
            prefill ? absl::StrCat("prefill-", i) : absl::StrCat("decode-", i - options_.prefill);
        std::vector<std::string> flags = prefill ? options_.prefill_flags : options_.decode_flags;
        flags.insert(flags.end(), address.begin(), address.end());
        flags.insert(flags.end(), {"--node-id", name});
        BATON_RETURN_IF_ERROR(
            StartChild(name, prefill ? "baton-prefill" : "baton-decode", std::move(flags)));
      }
    }
    const bool all_ready = children_.size() == total &&
                           std::all_of(children_.begin(), children_.end(),
                                       [](const ChildProcess& c) { return !c.ready().empty(); });
    if (all_ready) return absl::OkStatus();
    if (Pump() != 0) return absl::CancelledError("stopped while starting");
    for (ChildProcess& child : children_) {
      int exit_code = 0;
      if (child.Ended(&exit_code)) return DeathOf(child, exit_code);
    }
    if (SystemClock::Get().Now() > deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("the cluster was not ready after ", absl::ToInt64Seconds(timeout), " s"));
    }
  }
}

std::vector<std::map<std::string, std::string>> LocalCluster::nodes() const {
  std::vector<std::map<std::string, std::string>> ready;
  for (size_t i = 1; i < children_.size(); ++i) ready.push_back(children_[i].ready());
  return ready;
}

int LocalCluster::Pump() {
  std::vector<pollfd> wait = {{signals_, POLLIN, 0}};
  std::vector<size_t> whose;
  for (size_t i = 0; i < children_.size(); ++i) {
    if (children_[i].output() < 0) continue;
    wait.push_back({children_[i].output(), POLLIN, 0});
    whose.push_back(i);
  }
  poll(wait.data(), wait.size(), kPollMs);
  for (size_t i = 0; i < whose.size(); ++i) {
    if (wait[i + 1].revents == 0) continue;
    ChildProcess& child = children_[whose[i]];
    child.ReadOutput([&](const std::string& line) { Show(child, line); });
  }
  signalfd_siginfo info;
  int found = 0;
  while (read(signals_, &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo != SIGCHLD) found = static_cast<int>(info.ssi_signo);
  }
  return found;
}

void LocalCluster::Show(ChildProcess& child, const std::string& line) {
  std::vector<std::string>& log = log_[static_cast<size_t>(&child - children_.data())];
  log.push_back(line);
  if (log.size() > kLogLines) log.erase(log.begin());
  if (options_.log != nullptr) options_.log->Write(child.name(), line);
}

absl::Status LocalCluster::DeathOf(ChildProcess& child, int exit_code) const {
  const std::vector<std::string>& log = log_[static_cast<size_t>(&child - children_.data())];
  const bool quiet = options_.log == nullptr;
  return absl::UnavailableError(absl::StrCat(child.name(), " ended with code ", exit_code,
                                             quiet && !log.empty() ? ":\n" : "",
                                             quiet ? absl::StrJoin(log, "\n") : ""));
}

absl::Status LocalCluster::Restart(size_t index, int exit_code) {
  if (index == 0 || restarts_[index] >= kRestartsMax) return DeathOf(children_[index], exit_code);
  if (options_.log != nullptr) {
    options_.log->Write("serve", absl::StrCat(children_[index].name(), " ended with code ",
                                              exit_code, "; starting it again (",
                                              restarts_[index] + 1, " of ", kRestartsMax, ")"));
  }
  // 0.1, 0.2, 0.4 ... seconds, so that a node that cannot live does not spin.
  usleep(100'000u << restarts_[index]);
  ++restarts_[index];
  BATON_ASSIGN_OR_RETURN(
      children_[index], ChildProcess::Start(children_[index].name(), children_[index].arguments()));
  return absl::OkStatus();
}

absl::Status LocalCluster::Run(const std::function<bool()>& stop) {
  while (!stop()) {
    if (Pump() != 0) return absl::OkStatus();
    for (size_t i = 0; i < children_.size(); ++i) {
      int exit_code = 0;
      if (children_[i].Ended(&exit_code)) BATON_RETURN_IF_ERROR(Restart(i, exit_code));
    }
  }
  return absl::OkStatus();
}

std::vector<size_t> LocalCluster::StopSome(size_t begin, size_t end, absl::Time deadline) {
  for (size_t i = begin; i < end; ++i) children_[i].Signal(SIGTERM);
  std::vector<size_t> bad;
  bool killed = false;
  while (true) {
    bad.clear();
    bool running = false;
    for (size_t i = begin; i < end; ++i) {
      int exit_code = 0;
      if (!children_[i].Ended(&exit_code)) {
        running = true;
      } else if (exit_code != 0) {
        bad.push_back(i);
      }
    }
    if (!running) return bad;
    const bool again = Pump() != 0;
    if (!killed && (again || SystemClock::Get().Now() > deadline)) {
      killed = true;
      for (size_t i = begin; i < end; ++i) children_[i].Signal(SIGKILL);
    }
  }
}

absl::Status LocalCluster::Stop(absl::Duration timeout) {
  const absl::Time deadline = SystemClock::Get().Now() + timeout;
  std::vector<size_t> bad = StopSome(0, std::min<size_t>(1, children_.size()), deadline);
  if (children_.size() > 1) {
    const std::vector<size_t> nodes = StopSome(1, children_.size(), deadline);
    bad.insert(bad.end(), nodes.begin(), nodes.end());
  }
  std::vector<std::string> names;
  for (const size_t i : bad) names.push_back(children_[i].name());
  if (names.empty()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("did not stop cleanly: ", absl::StrJoin(names, ", ")));
}

}  // namespace baton::cli
