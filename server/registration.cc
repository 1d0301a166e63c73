#include "server/registration.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/time/clock.h"
#include "proto/grpc_status.h"
#include "proto/node.grpc.pb.h"

namespace baton::server {
namespace {

constexpr absl::Duration kBackoffMin = absl::Milliseconds(100);
constexpr absl::Duration kBackoffMax = absl::Milliseconds(500);
// Changes of the cache are collected for so long, then told together.
constexpr absl::Duration kCacheInterval = absl::Milliseconds(25);

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

bool Registration::WaitFor(absl::Duration time, absl::Duration* since_load) {
  MutexLock lock(mutex_);
  wake_.wait_for(mutex_, std::chrono::milliseconds(absl::ToInt64Milliseconds(time)),
                 [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stop_ || report_now_; });
  if (report_now_ && since_load != nullptr) *since_load = absl::InfiniteDuration();
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
  } while (WaitFor(backoff, nullptr));
}

template <typename Stream>
bool Registration::SendCacheEvents(Stream& stream, uint64_t& sequence) {
  v1::NodeReport report;
  if (options_.cache.restart && resend_cache_.exchange(false)) options_.cache.restart();
  while (options_.cache.take && options_.cache.take(report.mutable_cache())) {
    report.mutable_cache()->set_sequence(++sequence);
    if (!stream.Write(report)) return false;
  }
  return true;
}

template <typename Stream>
bool Registration::Report(Stream& stream, absl::Status* health) {
  uint64_t sequence = 0;
  resend_cache_ = true;
  v1::NodeReport report;
  absl::Duration since_load = options_.interval;
  absl::Duration until_next;
  do {
    if (since_load >= options_.interval) {
      *report.mutable_load() = options_.load();
      report.mutable_load()->set_unix_ms(absl::ToUnixMillis(absl::Now()));
      if (!stream.Write(report)) return true;
      since_load = absl::ZeroDuration();
      *health = Health();
      if (!health->ok()) return false;
    }
    if (!SendCacheEvents(stream, sequence)) return true;
    const absl::Duration left = options_.interval - since_load;
    until_next = options_.cache.take ? std::min(left, kCacheInterval) : left;
    since_load += until_next;
  } while (WaitFor(until_next, &since_load));
  return false;
}

absl::Status Registration::Join() {
  if (absl::Status health = Health(); !health.ok()) return health;
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
  absl::Status health;
  std::thread reader;  // of what the router says later
  if (open && reply.accepted()) {
    Tell(absl::OkStatus());
    reader = std::thread([this, &stream] {
      v1::RouterReply later;
      while (stream->Read(&later)) {
        if (later.resend_cache()) resend_cache_ = true;
        const v1::NodeRole role = later.take_role();
        if (role != v1::NODE_ROLE_UNSPECIFIED && options_.on_role) options_.on_role(role);
      }
    });
    open = !Report(*stream, &health);
  }
  // A stream that the router ended says why; cancelling it would hide that.
  if (open) context.TryCancel();
  if (reader.joinable()) reader.join();
  while (stream->Read(&reply)) {
  }
  const grpc::Status status = stream->Finish();
  MutexLock lock(mutex_);
  context_ = nullptr;
  if (!health.ok()) return health;
  return status.ok() ? absl::UnavailableError("the router closed the stream")
                     : proto::FromGrpc(status);
}

}  // namespace baton::server
