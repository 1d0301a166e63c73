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
  void OnPromptScored(const engine::Sequence&, int64_t first,
                      const std::vector<engine::PromptToken>& tokens) override {
    MutexLock lock(mutex_);
    in_order_ = in_order_ && first == static_cast<int64_t>(scores_.size()) + 1 && ids_.empty();
    scores_.insert(scores_.end(), tokens.begin(), tokens.end());
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
    const int64_t cached = sequence->cached_tokens;
    absl::StatusOr<std::vector<float>> embedding = std::vector<float>();
    if (sequence->reading.embeds()) embedding = engine::EmbeddingOf(sequence->reading);
    sequence.reset();  // whoever waits may look at the pool
    MutexLock lock(mutex_);
    preemptions_ = preemptions;
    cached_tokens_ = cached;
    embedding_ = *std::move(embedding);
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
  // Of the prompt's tokens from the second on; empty where they came out of order.
  std::vector<engine::PromptToken> scores() const {
    MutexLock lock(mutex_);
    return in_order_ ? scores_ : std::vector<engine::PromptToken>();
  }
  // These are valid after the end.
  std::vector<float> embedding() const {
    MutexLock lock(mutex_);
    return embedding_;
  }
  int64_t cached_tokens() const {
    MutexLock lock(mutex_);
    return cached_tokens_;
  }
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
  std::vector<engine::PromptToken> scores_ ABSL_GUARDED_BY(mutex_);
  bool in_order_ ABSL_GUARDED_BY(mutex_) = true;
  std::vector<float> embedding_ ABSL_GUARDED_BY(mutex_);
  int64_t cached_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t preemptions_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace baton::fakes
