// A listener that remembers what happened to its sequence.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "engine/step_listener.h"

namespace baton::fakes {

class RecordingListener final : public engine::StepListener {
 public:
  struct Layer {
    int32_t layer = 0;
    int64_t begin = 0, end = 0;
  };

  void OnLayerWritten(const engine::Sequence&, int32_t layer, int64_t begin, int64_t end) override {
    MutexLock lock(mutex_);
    layers_.push_back({layer, begin, end});
  }
  void OnStarted(const engine::Sequence&) override {
    MutexLock lock(mutex_);
    ++starts_;
  }
  void OnToken(const engine::Sequence&, const engine::SampledToken& token,
               engine::FinishReason reason) override {
    MutexLock lock(mutex_);
    ids_.push_back(token.id);
    reason_ = reason;
    changed_.notify_all();
  }
  void OnFinished(std::unique_ptr<engine::Sequence> sequence, absl::Status status) override {
    const int32_t preemptions = sequence->preemptions;
    sequence.reset();  // whoever waits may look at the pool
    MutexLock lock(mutex_);
    preemptions_ = preemptions;
    ++ends_;
    status_ = std::move(status);
    changed_.notify_all();
  }

  // False when that does not come within half a minute.
  bool WaitForTokens(size_t count) {
    MutexLock lock(mutex_);
    return changed_.wait_for(mutex_, kLimit, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return ids_.size() >= count || ends_ > 0;
    }) && ids_.size() >= count;
  }
  // DeadlineExceeded when the end does not come within half a minute.
  absl::Status WaitForEnd() {
    MutexLock lock(mutex_);
    const bool ended = changed_.wait_for(
        mutex_, kLimit, [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return ends_ > 0; });
    return ended ? status_ : absl::DeadlineExceededError("the sequence did not end");
  }
  std::vector<int32_t> ids() const {
    MutexLock lock(mutex_);
    return ids_;
  }
  std::vector<Layer> layers() const {
    MutexLock lock(mutex_);
    return layers_;
  }
  engine::FinishReason reason() const {
    MutexLock lock(mutex_);
    return reason_;
  }
  int ends() const {
    MutexLock lock(mutex_);
    return ends_;
  }
  int starts() const {
    MutexLock lock(mutex_);
    return starts_;
  }
  // Valid after the end.
  int32_t preemptions() const {
    MutexLock lock(mutex_);
    return preemptions_;
  }

 private:
  static constexpr std::chrono::seconds kLimit{30};
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<int32_t> ids_ ABSL_GUARDED_BY(mutex_);
  std::vector<Layer> layers_ ABSL_GUARDED_BY(mutex_);
  engine::FinishReason reason_ ABSL_GUARDED_BY(mutex_) = engine::FinishReason::kNone;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  int starts_ ABSL_GUARDED_BY(mutex_) = 0, ends_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t preemptions_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace baton::fakes
