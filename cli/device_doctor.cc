#include "cli/device_doctor.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::cli {
namespace {

constexpr double kTimingSeconds = 0.5;  // a slow chip is timed once

// What a child writes: everything at once, at its end.
struct Message {
  bool ok = false;
  device::OpReport report;
  double large_seconds = 0;
  char text[512] = {};
};

void SetText(Message* message, const std::string& text) {
  std::snprintf(message->text, sizeof(message->text), "%s", text.c_str());
}

// Runs `work` in a child. A failure to finish is said in `text`, with ok false.
Message InChild(int timeout_s, const std::function<Message()>& work) {
  Message message;
  int ends[2];
  if (pipe(ends) != 0) {
    SetText(&message, "no pipe for a child process");
    return message;
  }
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    const Message result = work();
    const bool written = write(ends[1], &result, sizeof(result)) == sizeof(result);
    _exit(written ? 0 : 1);
  }
  close(ends[1]);
  pollfd readable = {.fd = ends[0], .events = POLLIN, .revents = 0};
  const bool in_time = poll(&readable, 1, timeout_s * 1000) > 0;
  const bool complete = in_time && read(ends[0], &message, sizeof(message)) == sizeof(message);
  close(ends[0]);
  if (!complete) kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  if (complete) return message;
  message = {};
  if (!in_time) {
    SetText(&message, absl::StrCat("hung: nothing within ", timeout_s, " s"));
  } else if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) {
    SetText(&message, absl::StrCat("crashed: ", strsignal(WTERMSIG(status))));
  } else {
    SetText(&message, absl::StrCat("ended its process with status ", WEXITSTATUS(status)));
  }
  return message;
}

absl::StatusOr<device::OpReport> RunOn(const device::DeviceOptions& options,
                                       const device::OpCase& op) {
  BATON_ASSIGN_OR_RETURN(const auto device, device::CreateDevice(options));
  BATON_ASSIGN_OR_RETURN(const auto reference, device::CreateDevice({.name = "cpu"}));
  return device::RunOpCase(op, *device, *reference);
}

// The seconds of an op on the device alone: the reference would take too long at this size.
absl::StatusOr<double> TimeOn(const device::DeviceOptions& options, const device::OpCase& op) {
  BATON_ASSIGN_OR_RETURN(const auto device, device::CreateDevice(options));
  BATON_ASSIGN_OR_RETURN(const device::OpCase::Compute compute, op.prepare(*device));
  double best = 1e30, spent = 0;
  for (int i = 0; i < 5 && spent < kTimingSeconds; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    BATON_RETURN_IF_ERROR(compute({0, op.rows}).status());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    best = std::min(best, took.count());
    spent += took.count();
  }
  return best;
}

Message RunBoth(const device::DeviceOptions& options, const device::OpCase& small,
                const device::OpCase* large) {
  Message message;
  const absl::StatusOr<device::OpReport> report = RunOn(options, small);
  if (!report.ok()) {
    SetText(&message, std::string(report.status().message()));
    return message;
  }
  message.report = *report;
  if (large != nullptr) {
    const absl::StatusOr<double> seconds = TimeOn(options, *large);
    if (!seconds.ok()) {
      SetText(&message, absl::StrCat("at its large size: ", seconds.status().message()));
      return message;
    }
    message.large_seconds = *seconds;
  }
  message.ok = true;
  return message;
}

}  // namespace

absl::StatusOr<std::string> DescribeDevice(const device::DeviceOptions& options, int timeout_s) {
  const Message message = InChild(timeout_s, [&] {
    Message result;
    const auto device = device::CreateDevice(options);
    result.ok = device.ok();
    SetText(&result,
            device.ok() ? (*device)->description() : std::string(device.status().message()));
    return result;
  });
  if (!message.ok) return absl::FailedPreconditionError(message.text);
  return std::string(message.text);
}

std::vector<CaseOutcome> RunSuite(const device::DeviceOptions& options, int timeout_s,
                                  bool with_speed,
                                  const std::function<void(const CaseOutcome&)>& on_outcome) {
  const std::vector<device::OpCase> larges =
      with_speed ? device::AllOpCases(true) : std::vector<device::OpCase>();
  std::vector<CaseOutcome> outcomes;
  for (const device::OpCase& small : device::AllOpCases(false)) {
    const device::OpCase* large = nullptr;
    for (const device::OpCase& candidate : larges) {
      const bool same = candidate.op == small.op && candidate.what == small.what;
      if (same || (small.op == "attention" && candidate.op == "attention")) large = &candidate;
    }
    const Message message = InChild(timeout_s, [&] { return RunBoth(options, small, large); });
    CaseOutcome outcome{small, "", {}, 0, 0};
    if (!message.ok) outcome.failure = message.text;
    outcome.report = message.report;
    if (large != nullptr && message.large_seconds > 0) {
      outcome.rate = large->flops / message.large_seconds;
      outcome.bandwidth = large->bytes / message.large_seconds;
    }
    on_outcome(outcome);
    outcomes.push_back(std::move(outcome));
  }
  return outcomes;
}

}  // namespace baton::cli
