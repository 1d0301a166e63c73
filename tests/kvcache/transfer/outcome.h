// How a hand-over ended, and how often that was reported.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "base/mutex.h"

namespace baton::kvcache {

// Waits, with a limit that only a failure reaches.
template <typename Condition>
bool Eventually(const Condition& condition) {
  for (int i = 0; i < 100000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return false;
}

class Outcome {
 public:
  std::function<void(absl::Status)> Callback() {
    return [this](absl::Status status) {
      MutexLock lock(mutex_);
      ++reports_;
      status_ = std::move(status);
      changed_.notify_all();
    };
  }
  absl::Status Wait() {
    MutexLock lock(mutex_);
    const bool reported =
        changed_.wait_for(mutex_, std::chrono::seconds(30), [this] { return reports_ > 0; });
    EXPECT_TRUE(reported);
    return status_;
  }
  absl::Status status() const {
    MutexLock lock(mutex_);
    return status_;
  }
  int reports() const {
    MutexLock lock(mutex_);
    return reports_;
  }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  int reports_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace baton::kvcache
