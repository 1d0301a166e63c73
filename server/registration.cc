#include "server/registration.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "proto/grpc_status.h"
#include "proto/node.grpc.pb.h"

namespace baton::server {
namespace {

constexpr absl::Duration kBackoffMin = absl::Milliseconds(100);
constexpr absl::Duration kBackoffMax = absl::Seconds(1);

}  // namespace

Registration::Registration(std::shared_ptr<grpc::Channel> router, Options options)
    : router_(std::move(router)), options_(std::move(options)) {
  thread_ = std::thread([this] { Loop(); });
}

Registration::~Registration() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
    if (context_ != nullptr) context_->TryCancel();
    wake_.notify_all();
  }
  thread_.join();
}

void Registration::ReportNow() {
  MutexLock lock(mutex_);
  report_now_ = true;
  wake_.notify_all();
}

bool Registration::WaitFor(absl::Duration time) {
  MutexLock lock(mutex_);
  wake_.wait_for(mutex_, std::chrono::milliseconds(absl::ToInt64Milliseconds(time)),
                 [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stop_ || report_now_; });
  report_now_ = false;
  return !stop_;
}

void Registration::Tell(absl::Status status) {
  if (status == told_) return;
  told_ = status;
  if (options_.on_change) options_.on_change(std::move(status));
}

void Registration::Loop() {
  absl::Duration backoff = kBackoffMin;
  do {
    const absl::Status status = Join();
    {
      MutexLock lock(mutex_);
      if (stop_) return;
    }
    backoff = told_.ok() ? kBackoffMin : std::min(backoff * 2, kBackoffMax);
    Tell(status);
  } while (WaitFor(backoff));
}

absl::Status Registration::Join() {
  // The stream lives as long as the membership; keepalive pings notice a router that vanished.
  grpc::ClientContext context;
  {
    MutexLock lock(mutex_);
    if (stop_) return absl::CancelledError("");
    context_ = &context;
  }
  const auto stub = v1::Registry::NewStub(router_);
  const auto stream = stub->Join(&context);
  v1::NodeReport report;
  *report.mutable_hello() = options_.hello;
  v1::RouterReply reply;
  bool open = stream->Write(report) && stream->Read(&reply);
  if (open && reply.accepted()) {
    Tell(absl::OkStatus());
    do {
      *report.mutable_load() = options_.load();
      open = stream->Write(report);
    } while (open && WaitFor(options_.interval));
  }
  // A stream that the router ended says why; cancelling it would hide that.
  if (open) context.TryCancel();
  while (stream->Read(&reply)) {
  }
  const grpc::Status status = stream->Finish();
  MutexLock lock(mutex_);
  context_ = nullptr;
  return status.ok() ? absl::UnavailableError("the router closed the stream")
                     : proto::FromGrpc(status);
}

}  // namespace baton::server
