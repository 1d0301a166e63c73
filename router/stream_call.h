// One server-streaming call to a node: gRPC's callback API on one side, an event loop on the other.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <atomic>
#include <boost/asio/post.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "router/event_loops.h"

namespace baton::router {

// grpc::Status -> absl::Status; codes are the same numbers.
inline absl::Status FromGrpc(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

// Without its type parameter: what the owner of all calls needs.
class AnyCall {
 public:
  virtual ~AnyCall() = default;
  // Ends the call because its node is gone; it then reports Unavailable. Thread-safe.
  virtual void Lose() = 0;
};

// Life: made, started once by its node client, kept alive by itself until gRPC is done with it.
template <typename Event>
class StreamCall final : public AnyCall,
                         public grpc::ClientReadReactor<Event>,
                         public std::enable_shared_from_this<StreamCall<Event>> {
 public:
  // `received` is when the event left the socket.
  using OnEvent = std::function<void(Event event, absl::Time received)>;
  using OnEnd = std::function<void(const absl::Status& status)>;

  // Both callbacks run on `executor`: events in their order, then `on_end` exactly once, unless the
  // call is abandoned.
  StreamCall(Executor executor, OnEvent on_event, OnEnd on_end)
      : executor_(std::move(executor)),
        on_event_(std::move(on_event)),
        on_end_(std::move(on_end)) {}

  grpc::ClientContext& context() { return context_; }

  // `on_finished` runs on a gRPC thread when gRPC has let go of the call.
  void Begin(std::function<void()> on_finished) {
    on_finished_ = std::move(on_finished);
    self_ = this->shared_from_this();
    this->StartRead(&event_);
    this->StartCall();
  }

  // Cancels the call and forgets the callbacks: none runs any more. Only on the executor;
  // idempotent.
  void Abandon() {
    abandoned_ = true;
    on_event_ = nullptr;
    on_end_ = nullptr;
    context_.TryCancel();
  }

  void Lose() override {
    lost_.store(true);
    context_.TryCancel();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    boost::asio::post(executor_, [self = this->shared_from_this(), event = std::move(event_),
                                  received = SystemClock::Get().Now()]() mutable {
      // A copy: the callback may abandon the call, which would destroy it under its own feet.
      if (self->abandoned_) return;
      const OnEvent on_event = self->on_event_;
      on_event(std::move(event), received);
    });
    event_ = Event();
    this->StartRead(&event_);
  }

  void OnDone(const grpc::Status& grpc_status) override {
    absl::Status status = FromGrpc(grpc_status);
    if (!status.ok() && lost_.load()) status = absl::UnavailableError("the node is gone");
    boost::asio::post(executor_, [self = this->shared_from_this(), status = std::move(status)] {
      if (self->abandoned_) return;
      const OnEnd on_end = std::move(self->on_end_);
      self->Forget();
      on_end(status);
    });
    const auto on_finished = std::move(on_finished_);
    on_finished();
    self_.reset();
  }

 private:
  void Forget() {
    abandoned_ = true;
    on_event_ = nullptr;
    on_end_ = nullptr;
  }

  Executor executor_;
  OnEvent on_event_;  // executor only, as are the next two
  OnEnd on_end_;
  bool abandoned_ = false;
  std::function<void()> on_finished_;
  std::atomic<bool> lost_{false};
  grpc::ClientContext context_;
  Event event_;
  std::shared_ptr<StreamCall> self_;
};

}  // namespace baton::router
