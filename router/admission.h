// How many requests may be in the cluster at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "router/api_error.h"

namespace baton::router {

// Thread-safe. Slots must not outlive it.
class Admission {
 public:
  explicit Admission(int32_t max_running) : max_running_(max_running) {}

  // Gives its place back when destroyed.
  class Slot {
   public:
    Slot() = default;
    Slot(Slot&& other) noexcept : admission_(other.admission_) { other.admission_ = nullptr; }
    Slot& operator=(Slot&& other) noexcept;
    ~Slot() { Release(); }
    void Release();

   private:
    friend class Admission;
    explicit Slot(Admission* admission) : admission_(admission) {}
    Admission* admission_ = nullptr;
  };

  // Takes a place, or says why there is none: 429 when max_running are taken, 503 after
  // StartDraining.
  std::optional<ApiError> Admit(Slot* slot);

  void StartDraining() { draining_.store(true); }
  bool draining() const { return draining_.load(); }
  int32_t running() const { return running_.load(); }

 private:
  const int32_t max_running_;
  std::atomic<int32_t> running_{0};
  std::atomic<bool> draining_{false};
};

}  // namespace baton::router
