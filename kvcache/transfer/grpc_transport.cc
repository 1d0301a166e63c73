#include "kvcache/transfer/grpc_transport.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <deque>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "kvcache/transfer/transfer_channel.h"
#include "proto/grpc_status.h"
#include "proto/kv_transfer.grpc.pb.h"

namespace baton::kvcache {
namespace {

// The status of a stream, and whoever waits for it: called when nothing refers to the payloads any
// more. gRPC may still hold bytes of a cancelled stream in its socket buffer when it reports the
// end of the call.
class EndOfStream {
 public:
  explicit EndOfStream(PushStream::Events events) : events_(std::move(events)) {}
  ~EndOfStream() { events_.on_closed(std::move(status_)); }
  EndOfStream(const EndOfStream&) = delete;
  EndOfStream& operator=(const EndOfStream&) = delete;

  void OnAck(const v1::KvAck& ack) const { events_.on_ack(ack); }
  void set_status(absl::Status status) { status_ = std::move(status); }

 private:
  const PushStream::Events events_;
  absl::Status status_;
};

class PushCall;

// What the sender holds of a Push call. The call itself goes away when gRPC reports its end: a gRPC
// call keeps references to payloads that it did not get to send until it is destroyed, so the
// sender must not keep it alive while it waits for them.
class GrpcPushStream final : public PushStream {
 public:
  explicit GrpcPushStream(std::shared_ptr<EndOfStream> end) : end_(std::move(end)) {}

  void Send(OutgoingFrame frame) override ABSL_LOCKS_EXCLUDED(mutex_);
  void Cancel() override ABSL_LOCKS_EXCLUDED(mutex_);

  // From here on `call` takes writes.
  void Attach(PushCall* call) {
    MutexLock lock(mutex_);
    call_ = call;
    open_ = true;
  }
  // No more writes are started.
  void StopWriting() {
    MutexLock lock(mutex_);
    open_ = false;
  }
  void OnWriteDone(bool ok) ABSL_LOCKS_EXCLUDED(mutex_);
  // The call is about to be destroyed. Returns the last reference that is held here to the end of
  // the stream.
  std::shared_ptr<EndOfStream> Detach() {
    MutexLock lock(mutex_);
    open_ = false;
    call_ = nullptr;
    queue_.clear();
    return std::move(end_);
  }

 private:
  Mutex mutex_;
  PushCall* call_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<grpc::ByteBuffer> queue_ ABSL_GUARDED_BY(mutex_);  // the front is being written
  std::shared_ptr<EndOfStream> end_ ABSL_GUARDED_BY(mutex_);    // null when the call is over
};

// One Push call. Deletes itself when gRPC reports its end (OnDone).
//
// A read is outstanding from the start until the call is over, so the call cannot be done while the
// stream is open: that makes it safe to start writes from any thread under the stream's mutex.
class PushCall final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  static std::shared_ptr<PushStream> Start(const std::shared_ptr<grpc::Channel>& channel,
                                           absl::Duration timeout, PushStream::Events events) {
    static const std::string& method =
        *new std::string(absl::StrCat("/", v1::KvTransfer::service_full_name(), "/Push"));
    auto end = std::make_shared<EndOfStream>(std::move(events));
    auto stream = std::make_shared<GrpcPushStream>(end);
    auto* call = new PushCall(channel, stream, std::move(end));
    call->context_.set_deadline(DeadlineAfter(timeout));
    call->stub_.PrepareBidiStreamingCall(&call->context_, method, grpc::StubOptions(), call);
    stream->Attach(call);
    call->StartRead(&call->incoming_);
    call->StartCall();
    return stream;
  }

  void TryCancel() { context_.TryCancel(); }

  void OnWriteDone(bool ok) override { stream_->OnWriteDone(ok); }

  void OnReadDone(bool ok) override {
    v1::KvAck ack;
    if (ok && ParseAck(ack)) {
      end_->OnAck(ack);
      StartRead(&incoming_);
      return;
    }
    stream_->StopWriting();
    if (ok) context_.TryCancel();
  }

  void OnDone(const grpc::Status& status) override {
    end_->set_status(parse_error_.ok() ? proto::FromGrpc(status) : parse_error_);
    // The last of these references may be the last at all, and reports the end: not before the call
    // is gone.
    std::shared_ptr<EndOfStream> end = std::move(end_);
    std::shared_ptr<EndOfStream> also = stream_->Detach();
    delete this;
  }

 private:
  PushCall(const std::shared_ptr<grpc::Channel>& channel, std::shared_ptr<GrpcPushStream> stream,
           std::shared_ptr<EndOfStream> end)
      : stub_(channel), stream_(std::move(stream)), end_(std::move(end)) {}

  bool ParseAck(v1::KvAck& ack) {
    std::vector<grpc::Slice> slices;
    std::string bytes;
    if (incoming_.Dump(&slices).ok()) {
      for (const grpc::Slice& slice : slices) {
        bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
      }
      if (ack.ParseFromString(bytes)) return true;
    }
    parse_error_ = absl::InternalError("the peer sent an acknowledgement that does not parse");
    return false;
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  const std::shared_ptr<GrpcPushStream> stream_;
  std::shared_ptr<EndOfStream> end_;
  grpc::ByteBuffer incoming_;
  absl::Status parse_error_;
};

void GrpcPushStream::Send(OutgoingFrame frame) {
  MutexLock lock(mutex_);
  if (!open_) return;
  queue_.push_back(EncodeFrame(frame, end_));
  if (queue_.size() == 1) call_->StartWrite(&queue_.front());
}

void GrpcPushStream::Cancel() {
  MutexLock lock(mutex_);
  if (call_ != nullptr) call_->TryCancel();
}

void GrpcPushStream::OnWriteDone(bool ok) {
  MutexLock lock(mutex_);
  queue_.pop_front();
  // When a write fails the call is over: the outstanding read tells why.
  if (!ok) open_ = false;
  if (!open_) {
    queue_.clear();
  } else if (!queue_.empty()) {
    call_->StartWrite(&queue_.front());
  }
}

class GrpcTransport final : public Transport {
 public:
  explicit GrpcTransport(std::shared_ptr<grpc::ChannelCredentials> credentials)
      : credentials_(std::move(credentials)) {}

  absl::StatusOr<v1::PairReply> Pair(const std::string& address, const v1::PairRequest& request,
                                     absl::Duration timeout) override {
    std::unique_ptr<v1::KvTransfer::Stub> stub = v1::KvTransfer::NewStub(ChannelTo(address));
    grpc::ClientContext context;
    context.set_deadline(DeadlineAfter(timeout));
    v1::PairReply reply;
    if (grpc::Status status = stub->Pair(&context, request, &reply); !status.ok()) {
      return proto::FromGrpc(status);
    }
    return reply;
  }

  std::shared_ptr<PushStream> OpenPush(const std::string& address, absl::Duration timeout,
                                       PushStream::Events events) override {
    return PushCall::Start(ChannelTo(address), timeout, std::move(events));
  }

 private:
  std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address) {
    MutexLock lock(mutex_);
    std::shared_ptr<grpc::Channel>& channel = channels_[address];
    if (channel == nullptr) {
      channel = grpc::CreateCustomChannel(address, credentials_, TransferChannelArguments());
    }
    return channel;
  }

  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  Mutex mutex_;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<Transport> MakeGrpcTransport(
    std::shared_ptr<grpc::ChannelCredentials> credentials) {
  return std::make_unique<GrpcTransport>(std::move(credentials));
}

}  // namespace baton::kvcache
