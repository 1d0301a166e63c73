#include "server/process.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "server/log_format.h"

namespace baton::server {
namespace {

// SIGUSR2 stands for RequestStop, so that one sigwait serves both.
constexpr int kStopRequest = SIGUSR2;
std::atomic<bool> signal_seen{false};

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, kStopRequest);
  return signals;
}

}  // namespace

void StartLogging(const v1::ProcessConfig& config, const std::string& process_name) {
  auto logger = std::make_shared<spdlog::logger>(
      process_name, std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_level(spdlog::level::from_str(config.log_level()));
  if (config.log_format() == "json") {
    logger->set_formatter(JsonLines());
  } else {
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%L%$ %n %v");
  }
  spdlog::set_default_logger(std::move(logger));
  std::signal(SIGPIPE, SIG_IGN);
}

void BlockSignals() {
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

int WaitForSignal() {
  const sigset_t signals = StopSignals();
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  if (signal == kStopRequest) return 0;
  signal_seen = true;
  return signal;
}

bool SignalSeen() { return signal_seen; }

void RequestStop() { kill(getpid(), kStopRequest); }

bool WaitUntilIdle(absl::Duration timeout, const std::function<bool()>& idle) {
  const sigset_t signals = StopSignals();
  const absl::Time deadline = SystemClock::Get().Now() + timeout;
  while (!idle()) {
    if (SystemClock::Get().Now() >= deadline) return false;
    const timespec poll{0, 10'000'000};
    const int signal = sigtimedwait(&signals, nullptr, &poll);
    if (signal > 0) {
      if (signal != kStopRequest) signal_seen = true;
      return idle();
    }
  }
  return true;
}

void AnnounceReady(const std::string& role, const std::string& key_values) {
  std::printf("BATON READY role=%s %s\n", role.c_str(), key_values.c_str());
  std::fflush(stdout);
}

int ExitCodeFor(const absl::Status& status, const std::string& process_name) {
  constexpr int kConfigurationError = 78;  // EX_CONFIG of sysexits.h
  std::fprintf(stderr, "%s: %s\n", process_name.c_str(), std::string(status.message()).c_str());
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kNotFound:
      return kConfigurationError;
    default:
      return 1;
  }
}

}  // namespace baton::server
