#include "device/thread_team.h"

#include <chrono>

namespace baton::device {
namespace {

constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kRun = uint64_t{1} << 32;  // the number of a run counts in these

uint32_t RunOf(uint64_t gate) { return static_cast<uint32_t>(gate >> 32); }
uint32_t JoinedOf(uint64_t gate) { return static_cast<uint32_t>(gate & (kOpen - 1)); }

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

ThreadTeam::ThreadTeam(int threads) : size_(threads) {
  for (int member = 1; member < size_; ++member) {
    workers_.emplace_back([this, member] { WorkerLoop(member); });
  }
}

ThreadTeam::~ThreadTeam() {
  stop_.store(true, std::memory_order_relaxed);
  wake_.value.fetch_add(1, std::memory_order_release);
  wake_.value.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::WaitWhileEqual(Counter<uint32_t>& counter, uint32_t old) {
  constexpr auto kSpin = std::chrono::microseconds(50);
  for (int i = 0; i < 64; ++i) {
    if (counter.value.load(std::memory_order_acquire) != old) return;
    Pause();
  }
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  while (std::chrono::steady_clock::now() < deadline) {
    for (int i = 0; i < 16; ++i) {
      if (counter.value.load(std::memory_order_acquire) != old) return;
      Pause();
    }
    // Where threads outnumber CPUs, the one that is waited for may want this CPU.
    std::this_thread::yield();
  }
  while (counter.value.load(std::memory_order_acquire) == old) {
    counter.value.wait(old, std::memory_order_acquire);
  }
}

void ThreadTeam::RunErased(Function function, const void* context, bool everybody) {
  if (size_ == 1) {
    function(context, 0);
    return;
  }
  function_ = function;
  context_ = context;
  finished_.value.store(0, std::memory_order_relaxed);
  const uint64_t last = gate_.value.load(std::memory_order_relaxed);
  gate_.value.store((last / kRun + 1) * kRun | kOpen, std::memory_order_release);
  wake_.value.fetch_add(1, std::memory_order_release);
  wake_.value.notify_all();
  function(context, 0);
  uint32_t expected = static_cast<uint32_t>(size_ - 1);
  if (!everybody) {
    expected = JoinedOf(gate_.value.fetch_and(~kOpen, std::memory_order_acq_rel));
  }
  for (uint32_t count = finished_.value.load(std::memory_order_acquire); count != expected;
       count = finished_.value.load(std::memory_order_acquire)) {
    WaitWhileEqual(finished_, count);
  }
}

void ThreadTeam::WorkerLoop(int member) {
  uint32_t seen = 0;  // the last run that this member joined or missed
  while (true) {
    // Read before the gate: a run that opens after the look at the gate changes it.
    const uint32_t wake = wake_.value.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    uint64_t gate = gate_.value.load(std::memory_order_acquire);
    bool joined = false;
    while (RunOf(gate) != seen && (gate & kOpen) != 0 && !joined) {
      joined = gate_.value.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel,
                                                 std::memory_order_acquire);
    }
    seen = RunOf(gate);
    if (!joined) {
      WaitWhileEqual(wake_, wake);
      continue;
    }
    function_(context_, member);
    finished_.value.fetch_add(1, std::memory_order_acq_rel);
    finished_.value.notify_one();
  }
}

void ThreadTeam::Barrier() {
  if (size_ == 1) return;
  const uint32_t epoch = barrier_epoch_.value.load(std::memory_order_acquire);
  if (arrived_.value.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(size_)) {
    arrived_.value.store(0, std::memory_order_relaxed);
    barrier_epoch_.value.fetch_add(1, std::memory_order_release);
    barrier_epoch_.value.notify_all();
  } else {
    WaitWhileEqual(barrier_epoch_, epoch);
  }
}

}  // namespace baton::device
