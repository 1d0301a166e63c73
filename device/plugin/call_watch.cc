#include "device/plugin/call_watch.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/check.h"

namespace baton::device {

// Read by a signal handler: plain memory that is never freed.
struct CallSlot {
  std::atomic<bool> taken{false};
  std::atomic<const char*> call{nullptr};
  std::atomic<int64_t> began_ms{0};
  char plugin[64] = {};
};

namespace {

constexpr int kSlots = 64;
constexpr int64_t kTimeoutDefaultMs = 30'000;
constexpr int kExitHung = 70;  // EX_SOFTWARE
constexpr int kFatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

int64_t NowMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

int64_t TimeoutMs() {
  const char* text = std::getenv("BATON_PLUGIN_TIMEOUT_MS");
  const int64_t value = text == nullptr ? 0 : std::atoll(text);
  return value > 0 ? value : kTimeoutDefaultMs;
}

// Safe in a signal handler.
void Say(const char* plugin, const char* what, const char* call) {
  char line[256];
  size_t length = 0;
  for (const char* part : {"baton: plugin ", plugin, what, call, "\n"}) {
    const size_t room = sizeof(line) - length;
    const size_t size = strnlen(part, room);
    std::memcpy(line + length, part, size);
    length += size;
  }
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line, length);
}

// All calls of the process into plugins. Lives as long as the process: a handler may read it at any
// time.
struct Watch {
  CallSlot slots[kSlots];

  // Says what each plugin was doing, then lets the signal take its course.
  static void OnFatal(int signal) {
    for (CallSlot& slot : Get().slots) {
      const char* call = slot.call.load();
      if (slot.taken.load() && call != nullptr) Say(slot.plugin, " crashed in ", call);
    }
    ::signal(signal, SIG_DFL);
    raise(signal);
  }

  void Guard(int64_t limit_ms) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are for the process's own threads
    const auto pause = std::chrono::milliseconds(std::min<int64_t>(limit_ms / 4 + 1, 250));
    for (;;) {
      std::this_thread::sleep_for(pause);
      for (CallSlot& slot : slots) {
        const char* call = slot.call.load();
        if (!slot.taken.load() || call == nullptr) continue;
        if (NowMs() - slot.began_ms.load() < limit_ms || slot.call.load() != call) continue;
        Say(slot.plugin, " hangs in ", call);
        _exit(kExitHung);
      }
    }
  }

  static Watch& Get() {
    static Watch* watch = [] {
      auto* made = new Watch;
      struct sigaction action = {};
      action.sa_handler = OnFatal;
      action.sa_flags = SA_NODEFER;
      for (const int signal : kFatal) sigaction(signal, &action, nullptr);
      std::thread([made, limit = TimeoutMs()] { made->Guard(limit); }).detach();
      return made;
    }();
    return *watch;
  }
};

}  // namespace

CallWatch::CallWatch(const std::string& plugin) {
  for (CallSlot& slot : Watch::Get().slots) {
    bool free = false;
    if (!slot.taken.compare_exchange_strong(free, true)) continue;
    std::snprintf(slot.plugin, sizeof(slot.plugin), "%s", plugin.c_str());
    slot_ = &slot;
    return;
  }
  BATON_CHECK(slot_ != nullptr, "at most 64 plugin devices in one process");
}

CallWatch::~CallWatch() {
  slot_->call = nullptr;
  slot_->taken = false;
}

void CallWatch::Begin(const char* call) {
  slot_->began_ms = NowMs();
  slot_->call = call;
}

void CallWatch::End() { slot_->call = nullptr; }

}  // namespace baton::device
