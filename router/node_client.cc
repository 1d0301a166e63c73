#include "router/node_client.h"

#include <chrono>
#include <utility>

namespace baton::router {
namespace {

std::chrono::system_clock::time_point DeadlineIn(absl::Duration timeout) {
  return std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout);
}

// What one Renew call needs until it is done.
struct RenewCall {
  grpc::ClientContext context;
  v1::RenewRequest request;
  v1::RenewReply reply;
};

}  // namespace

void OpenCalls::Add() {
  MutexLock lock(mutex_);
  ++open_;
}

void OpenCalls::Remove() {
  // Under the lock, so that a waiter cannot destroy this object between the change and the
  // notification.
  MutexLock lock(mutex_);
  --open_;
  changed_.notify_all();
}

bool OpenCalls::WaitUntilNone(absl::Duration timeout) {
  MutexLock lock(mutex_);
  return changed_.wait_for(mutex_, absl::ToChronoMilliseconds(timeout),
                           [this] { return open_ == 0; });
}

NodeClient::NodeClient(std::shared_ptr<grpc::Channel> channel, OpenCalls* open_calls)
    : channel_(std::move(channel)),
      prefill_(v1::Prefill::NewStub(channel_)),
      decode_(v1::Decode::NewStub(channel_)),
      open_calls_(open_calls) {
  // Connects now, so that the first request does not wait for it.
  channel_->GetState(/*try_to_connect=*/true);
}

template <typename Call, typename Starter>
std::shared_ptr<Call> NodeClient::Begin(std::shared_ptr<Call> call, const CallOptions& options,
                                        const Starter& start) {
  call->context().set_deadline(DeadlineIn(options.timeout));
  if (!options.traceparent.empty()) {
    call->context().AddMetadata("traceparent", options.traceparent);
  }
  bool lost = false;
  {
    MutexLock lock(mutex_);
    lost = lost_;
    calls_.emplace(call.get(), call);
  }
  open_calls_->Add();
  start(call.get());
  call->Begin([self = shared_from_this(), key = static_cast<AnyCall*>(call.get())] {
    {
      MutexLock lock(self->mutex_);
      self->calls_.erase(key);
    }
    self->open_calls_->Remove();
  });
  if (lost) call->Lose();
  return call;
}

std::shared_ptr<PrefillCall> NodeClient::Run(const v1::PrefillRequest& request,
                                             const CallOptions& options, Executor executor,
                                             PrefillCall::OnEvent on_event,
                                             PrefillCall::OnEnd on_end) {
  auto call =
      std::make_shared<PrefillCall>(std::move(executor), std::move(on_event), std::move(on_end));
  return Begin(std::move(call), options, [&](PrefillCall* started) {
    prefill_->async()->Run(&started->context(), &request, started);
  });
}

std::shared_ptr<DecodeCall> NodeClient::Generate(const v1::DecodeRequest& request,
                                                 const CallOptions& options, Executor executor,
                                                 DecodeCall::OnEvent on_event,
                                                 DecodeCall::OnEnd on_end) {
  auto call =
      std::make_shared<DecodeCall>(std::move(executor), std::move(on_event), std::move(on_end));
  return Begin(std::move(call), options, [&](DecodeCall* started) {
    decode_->async()->Generate(&started->context(), &request, started);
  });
}

void NodeClient::Renew(const std::vector<std::string>& ticket_ids, absl::Duration timeout,
                       std::function<void(const absl::Status&, const v1::RenewReply&)> done) {
  auto call = std::make_shared<RenewCall>();
  call->context.set_deadline(DeadlineIn(timeout));
  for (const std::string& id : ticket_ids) call->request.add_ticket_ids(id);
  open_calls_->Add();
  decode_->async()->Renew(
      &call->context, &call->request, &call->reply,
      [self = shared_from_this(), call, done = std::move(done)](const grpc::Status& status) {
        done(FromGrpc(status), call->reply);
        self->open_calls_->Remove();
      });
}

void NodeClient::CallFailed(absl::Time now) {
  MutexLock lock(mutex_);
  if (!trust_) trust_.emplace();
  trust_->Failed(now);
  doubted_ = true;
}

void NodeClient::CallWorked() {
  if (!doubted_) return;
  MutexLock lock(mutex_);
  trust_.reset();
  doubted_ = !ways_.empty();
}

void NodeClient::HandOverFailed(uint64_t decode_incarnation, absl::Time now) {
  MutexLock lock(mutex_);
  ways_[decode_incarnation].Failed(now);
  doubted_ = true;
}

void NodeClient::HandOverWorked(uint64_t decode_incarnation) {
  if (!doubted_) return;
  MutexLock lock(mutex_);
  ways_.erase(decode_incarnation);
  doubted_ = trust_.has_value() || !ways_.empty();
}

bool NodeClient::Paused(absl::Time now) const {
  if (!doubted_) return false;
  MutexLock lock(mutex_);
  return trust_ && trust_->Paused(now);
}

bool NodeClient::HandOverPaused(uint64_t decode_incarnation, absl::Time now) const {
  if (!doubted_) return false;
  MutexLock lock(mutex_);
  const auto way = ways_.find(decode_incarnation);
  return way != ways_.end() && way->second.Paused(now);
}

void NodeClient::Lose() {
  // Cancelling may run a call's last callback on this thread, which takes the lock.
  std::vector<std::shared_ptr<AnyCall>> calls;
  {
    MutexLock lock(mutex_);
    lost_ = true;
    for (const auto& [key, call] : calls_) {
      if (std::shared_ptr<AnyCall> alive = call.lock()) calls.push_back(std::move(alive));
    }
  }
  for (const auto& call : calls) call->Lose();
}

}  // namespace baton::router
