// The server's side of grpc_transport.h: the KvTransfer service.
#include <grpcpp/support/server_callback.h>
#include <malloc.h>

#include <memory>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "kvcache/transfer/grpc_transport.h"
#include "proto/grpc_status.h"
#include "proto/kv_transfer.grpc.pb.h"

namespace baton::kvcache {
namespace {

// gRPC allocates memory for what it receives and frees it after each frame. By default glibc gives
// that much back to the kernel each time, and the page faults of getting it again cost a third of
// the throughput (bench/kv_transfer). So the process keeps up to 64 MiB of it an
// arena.
void KeepReceiveMemory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
#endif
}

grpc::ByteBuffer Serialised(const v1::KvAck& ack) {
  const grpc::Slice slice(ack.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

// One Push call: hands each frame to the receiver and its ack back. Reads one frame at a time, so
// that HTTP/2 flow control holds a sender back that is faster than this node. Deletes itself when
// gRPC reports the end (OnDone).
class PushReactor final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit PushReactor(std::unique_ptr<KvReceiverStream> stream) : stream_(std::move(stream)) {
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      End(absl::CancelledError("the stream ended before a commit"));
      return;
    }
    absl::StatusOr<v1::KvAck> ack = HandleFrame();
    if (!ack.ok()) {
      End(ack.status());
      return;
    }
    const bool committed = ack->committed();
    Acknowledge(*ack);
    if (committed) {
      End(absl::OkStatus());
    } else {
      StartRead(&incoming_);
    }
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(mutex_);
    writing_ = false;
    if (ok && has_pending_) {
      WritePending();
    } else if (ended_) {
      Finish(end_);
    }
  }

  void OnDone() override { delete this; }

 private:
  absl::StatusOr<v1::KvAck> HandleFrame() {
    std::vector<grpc::Slice> slices;
    absl::StatusOr<IncomingFrame> frame = DecodeFrame(incoming_, slices);
    if (!frame.ok()) return frame.status();
    return stream_->OnFrame(*frame);
  }

  // Acks wait for the write before them, merged into one: however slowly the peer reads, only one
  // is kept.
  void Acknowledge(const v1::KvAck& ack) {
    MutexLock lock(mutex_);
    if (ack.credit_bytes() == 0 && !ack.committed() && ack.resend_size() == 0) return;
    pending_.set_credit_bytes(pending_.credit_bytes() + ack.credit_bytes());
    pending_.set_committed(pending_.committed() || ack.committed());
    pending_.mutable_resend()->MergeFrom(ack.resend());
    has_pending_ = true;
    if (!writing_) WritePending();
  }

  void WritePending() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    outgoing_ = Serialised(pending_);
    pending_.Clear();
    has_pending_ = false;
    writing_ = true;
    StartWrite(&outgoing_);
  }

  // Called once, from the last OnReadDone. The status leaves after the acks.
  void End(const absl::Status& status) {
    MutexLock lock(mutex_);
    ended_ = true;
    end_ = proto::ToGrpc(status);
    if (!writing_) Finish(end_);
  }

  const std::unique_ptr<KvReceiverStream> stream_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
  Mutex mutex_;
  v1::KvAck pending_ ABSL_GUARDED_BY(mutex_);
  bool has_pending_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::Status end_ ABSL_GUARDED_BY(mutex_);
};

// A call that is refused before anything is read.
class RefusedPush final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit RefusedPush(const absl::Status& status) { Finish(proto::ToGrpc(status)); }
  void OnDone() override { delete this; }
};

class KvTransferService final
    : public v1::KvTransfer::WithRawCallbackMethod_Push<
          v1::KvTransfer::WithCallbackMethod_Pair<v1::KvTransfer::Service>> {
 public:
  KvTransferService(KvReceiver& receiver,
                    std::function<absl::Status(const grpc::ServerContextBase&)> check_peer)
      : receiver_(receiver), check_peer_(std::move(check_peer)) {}

  grpc::ServerUnaryReactor* Pair(grpc::CallbackServerContext* context,
                                 const v1::PairRequest* request, v1::PairReply* reply) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    absl::Status status = check_peer_(*context);
    if (status.ok()) {
      absl::StatusOr<v1::PairReply> paired = receiver_.Pair(*request);
      status = paired.status();
      if (paired.ok()) *reply = *std::move(paired);
    }
    reactor->Finish(proto::ToGrpc(status));
    return reactor;
  }

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Push(
      grpc::CallbackServerContext* context) override {
    if (absl::Status status = check_peer_(*context); !status.ok()) return new RefusedPush(status);
    return new PushReactor(receiver_.OpenStream());
  }

 private:
  KvReceiver& receiver_;
  const std::function<absl::Status(const grpc::ServerContextBase&)> check_peer_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeKvTransferService(
    KvReceiver& receiver, std::function<absl::Status(const grpc::ServerContextBase&)> check_peer) {
  KeepReceiveMemory();
  return std::make_unique<KvTransferService>(receiver, std::move(check_peer));
}

}  // namespace baton::kvcache
