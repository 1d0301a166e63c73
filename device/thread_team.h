// A fixed set of threads that run one function together, again and again, with little delay in
// between.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace baton::device {

// The calling thread is member 0 and takes part; the others are owned by the team. Between runs a
// member spins for at most 50 microseconds and then sleeps, so an idle team costs nothing. One
// caller at a time.
class ThreadTeam {
 public:
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return size_; }

  // Calls f(member) on every member, member in [0, size), and returns when all returned. What one
  // member wrote is visible to all afterwards.
  template <typename F>
  void Run(const F& f) {
    RunErased([](const void* context, int member) { (*static_cast<const F*>(context))(member); },
              &f);
  }

  // Within Run: returns when every member has called it. What they wrote before is visible after.
  void Barrier();

 private:
  using Function = void (*)(const void*, int);
  // A counter on cache lines of its own: neighbours share lines in pairs (adjacent-line prefetch).
  struct alignas(128) Counter {
    std::atomic<uint32_t> value{0};
  };

  void RunErased(Function function, const void* context);
  void WorkerLoop(int member);
  // Returns when counter.value != old: spins first, then sleeps.
  static void WaitWhileEqual(Counter& counter, uint32_t old);

  const int size_;
  Function function_ = nullptr;
  const void* context_ = nullptr;
  std::atomic<bool> stop_{false};
  Counter start_;          // grows when a run starts
  Counter running_;        // members that have not finished the run
  Counter arrived_;        // members that wait at the barrier
  Counter barrier_epoch_;  // grows when a barrier opens
  std::vector<std::thread> workers_;
};

}  // namespace baton::device
