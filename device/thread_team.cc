#include "device/thread_team.h"

#include <chrono>

namespace baton::device {
namespace {

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
  start_.value.fetch_add(1, std::memory_order_release);
  start_.value.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::WaitWhileEqual(Counter& counter, uint32_t old) {
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
  }
  while (counter.value.load(std::memory_order_acquire) == old) {
    counter.value.wait(old, std::memory_order_acquire);
  }
}

void ThreadTeam::RunErased(Function function, const void* context) {
  if (size_ == 1) {
    function(context, 0);
    return;
  }
  function_ = function;
  context_ = context;
  running_.value.store(static_cast<uint32_t>(size_ - 1), std::memory_order_relaxed);
  start_.value.fetch_add(1, std::memory_order_release);
  start_.value.notify_all();
  function(context, 0);
  for (uint32_t left = running_.value.load(std::memory_order_acquire); left != 0;
       left = running_.value.load(std::memory_order_acquire)) {
    WaitWhileEqual(running_, left);
  }
}

void ThreadTeam::WorkerLoop(int member) {
  uint32_t seen = 0;
  while (true) {
    WaitWhileEqual(start_, seen);
    ++seen;
    if (stop_.load(std::memory_order_relaxed)) return;
    function_(context_, member);
    if (running_.value.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.value.notify_one();
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
