// The writing side of a server stream: events are queued by any thread and written in order.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <mutex>
#include <utility>

namespace baton::bench {

// Keeps itself until gRPC is done with it.
template <typename Event>
class EventOutbox final : public grpc::ServerWriteReactor<Event>,
                          public std::enable_shared_from_this<EventOutbox<Event>> {
 public:
  static std::shared_ptr<EventOutbox> Make() {
    auto outbox = std::make_shared<EventOutbox>();
    outbox->self_ = outbox;
    return outbox;
  }

  void Send(Event event) {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    events_.push_back(std::move(event));
    Pump();
  }
  // After what was sent.
  void End(const grpc::Status& status) {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    status_ = status;
    Pump();
  }
  // The caller has left.
  bool gone() {
    std::lock_guard lock(mutex_);
    return gone_;
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) GiveUp();
    Pump();
  }
  void OnCancel() override {
    std::lock_guard lock(mutex_);
    GiveUp();
    Pump();
  }
  void OnDone() override {
    // Let go without the lock: this may be the last owner.
    std::shared_ptr<EventOutbox> self;
    {
      std::lock_guard lock(mutex_);
      self = std::move(self_);
    }
  }

 private:
  void GiveUp() {
    gone_ = true;
    if (!ended_) status_ = grpc::Status::CANCELLED;
    ended_ = true;
    events_.clear();
  }
  void Pump() {
    if (writing_ || finished_) return;
    if (!events_.empty()) {
      current_ = std::move(events_.front());
      events_.pop_front();
      writing_ = true;
      this->StartWrite(&current_);
    } else if (ended_) {
      finished_ = true;
      this->Finish(status_);
    }
  }

  std::mutex mutex_;
  std::deque<Event> events_;
  Event current_;
  grpc::Status status_;
  bool writing_ = false, ended_ = false, finished_ = false, gone_ = false;
  std::shared_ptr<EventOutbox> self_;
};

}  // namespace baton::bench
