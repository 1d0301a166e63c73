// A server-streaming RPC as a queue that any thread may fill.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "proto/grpc_status.h"

namespace baton::server {

// Shared between gRPC and whoever produces events. Thread-safe; Send never blocks. The stream ends
// with Finish, which must be called exactly once, also after the caller left (OnCancelled told so);
// events after that are dropped.
template <typename Event>
class EventStream : public std::enable_shared_from_this<EventStream<Event>> {
 public:
  // Joins `next` to `last`, which has not been sent yet; false when they stay apart. May be null.
  using Merge = bool (*)(Event& last, Event& next);

  // `on_cancelled` runs at most once, on a gRPC thread, when the caller cancels or disappears
  // before Finish.
  static std::shared_ptr<EventStream> Create(Merge merge = nullptr) {
    return std::shared_ptr<EventStream>(new EventStream(merge));
  }

  // The reactor to return to gRPC. Call once. It keeps the stream alive until gRPC is done with it.
  grpc::ServerWriteReactor<Event>* Attach(std::function<void()> on_cancelled) {
    auto* reactor = new Reactor(this->shared_from_this(), std::move(on_cancelled));
    MutexLock lock(mutex_);
    reactor_ = reactor;
    Advance();
    return reactor;
  }

  void Send(Event event) {
    MutexLock lock(mutex_);
    if (finishing_ || gone_) return;
    if (merge_ != nullptr && !queue_.empty() && merge_(queue_.back(), event)) return;
    queue_.push_back(std::move(event));
    Advance();
  }

  // Ends the stream after what is queued (at once when the caller is gone).
  void Finish(absl::Status status) {
    MutexLock lock(mutex_);
    if (finishing_) return;
    finishing_ = true;
    status_ = std::move(status);
    Advance();
  }

 private:
  class Reactor final : public grpc::ServerWriteReactor<Event> {
   public:
    Reactor(std::shared_ptr<EventStream> stream, std::function<void()> on_cancelled)
        : stream_(std::move(stream)), on_cancelled_(std::move(on_cancelled)) {}
    void OnWriteDone(bool ok) override { stream_->Written(ok); }
    void OnCancel() override {
      stream_->Gone();
      if (on_cancelled_) on_cancelled_();
    }
    void OnDone() override { delete this; }

   private:
    std::shared_ptr<EventStream> stream_;
    std::function<void()> on_cancelled_;
  };

  explicit EventStream(Merge merge) : merge_(merge) {}

  void Written(bool ok) {
    MutexLock lock(mutex_);
    writing_ = false;
    if (!ok) gone_ = true;
    Advance();
  }

  void Gone() {
    MutexLock lock(mutex_);
    gone_ = true;
    Advance();
  }

  // Starts the next operation that is due.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (reactor_ == nullptr || writing_ || finished_) return;
    if (gone_) queue_.clear();
    if (!queue_.empty()) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      writing_ = true;
      reactor_->StartWrite(&current_);
    } else if (finishing_) {
      finished_ = true;
      reactor_->Finish(proto::ToGrpc(status_));
    }
  }

  const Merge merge_;
  Mutex mutex_;
  Reactor* reactor_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::deque<Event> queue_ ABSL_GUARDED_BY(mutex_);
  Event current_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace baton::server
