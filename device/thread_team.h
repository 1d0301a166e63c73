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
    RunErased(Erase<F>, &f, /*everybody=*/true);
  }

  // Calls f(member) on the caller and on every member that comes before the caller is done, and
  // returns when these returned. For work that members take piece by piece from a counter: the
  // caller never waits for a thread that the system has not let run. No Barrier within.
  template <typename F>
  void Share(const F& f) {
    RunErased(Erase<F>, &f, /*everybody=*/false);
  }

  // Within Run: returns when every member has called it. What they wrote before is visible after.
  void Barrier();

 private:
  using Function = void (*)(const void*, int);
  template <typename F>
  static void Erase(const void* context, int member) {
    (*static_cast<const F*>(context))(member);
  }

  // A counter on cache lines of its own: neighbours share lines in pairs (adjacent-line prefetch).
  template <typename T>
  struct alignas(128) Counter {
    std::atomic<T> value{0};
  };

  void RunErased(Function function, const void* context, bool everybody);
  void WorkerLoop(int member);
  // Returns when counter.value != old: spins first, then sleeps.
  static void WaitWhileEqual(Counter<uint32_t>& counter, uint32_t old);

  const int size_;
  Function function_ = nullptr;
  const void* context_ = nullptr;
  std::atomic<bool> stop_{false};
  // The current run: its number in the high half, whether it may be joined (kOpen), and how many
  // members besides the caller joined it. Only who joined may read function_ and context_.
  Counter<uint64_t> gate_;
  Counter<uint32_t> wake_;           // grows after each change that members should look at
  Counter<uint32_t> finished_;       // members that joined the run and returned from it
  Counter<uint32_t> arrived_;        // members that wait at the barrier
  Counter<uint32_t> barrier_epoch_;  // grows when a barrier opens
  std::vector<std::thread> workers_;
};

}  // namespace baton::device
