#include "kvcache/transfer/memory_transport.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace baton::kvcache {
namespace {

absl::Status NobodyListens(const std::string& address) {
  return absl::UnavailableError(absl::StrCat("nobody listens at ", address));
}

}  // namespace

// Both ends of one stream. Deliveries of one stream come from one thread at a time.
class MemoryTransport::Stream final : public PushStream,
                                      public std::enable_shared_from_this<Stream> {
 public:
  Stream(MemoryTransport& transport, std::unique_ptr<KvReceiverStream> receiver, Events events)
      : transport_(transport), receiver_(std::move(receiver)), events_(std::move(events)) {}

  void Send(OutgoingFrame frame) override {
    if (!closed()) transport_.Enqueue(shared_from_this(), std::move(frame));
  }
  void Cancel() override { Close(absl::CancelledError("the stream was cancelled")); }

  // False where the stream is over. Otherwise nothing ends it before EndDelivery: until then the
  // payload may be read.
  bool BeginDelivery() {
    MutexLock lock(mutex_);
    delivering_ = !closed_;
    return delivering_;
  }

  void Deliver(const IncomingFrame& frame, bool with_ack) {
    if (closed()) return;
    absl::StatusOr<v1::KvAck> ack = receiver_->OnFrame(frame);
    if (!ack.ok()) {
      Close(ack.status());
      return;
    }
    if (with_ack) events_.on_ack(*ack);
    if (ack->committed()) Close(absl::OkStatus());
  }

  void EndDelivery() {
    {
      MutexLock lock(mutex_);
      delivering_ = false;
      if (!closed_) return;
    }
    events_.on_closed(end_);
  }

  void Close(absl::Status status) {
    {
      MutexLock lock(mutex_);
      if (closed_) return;
      closed_ = true;
      end_ = std::move(status);
      if (delivering_) return;
    }
    events_.on_closed(end_);
  }

 private:
  bool closed() const {
    MutexLock lock(mutex_);
    return closed_;
  }

  MemoryTransport& transport_;
  const std::unique_ptr<KvReceiverStream> receiver_;
  const Events events_;
  mutable Mutex mutex_;
  bool delivering_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status end_;  // written once, before closed_ is seen
};

void MemoryTransport::Listen(const std::string& address, KvReceiver* receiver) {
  MutexLock lock(mutex_);
  if (receiver == nullptr) {
    receivers_.erase(address);
  } else {
    receivers_[address] = receiver;
  }
}

void MemoryTransport::Inject(int64_t frame, Fault fault) {
  MutexLock lock(mutex_);
  faults_[frames_sent_ + frame] = fault;
}

int64_t MemoryTransport::frames_sent() const {
  MutexLock lock(mutex_);
  return frames_sent_;
}

absl::StatusOr<v1::PairReply> MemoryTransport::Pair(const std::string& address,
                                                    const v1::PairRequest& request,
                                                    absl::Duration /*timeout*/) {
  KvReceiver* receiver = nullptr;
  {
    MutexLock lock(mutex_);
    if (auto found = receivers_.find(address); found != receivers_.end()) receiver = found->second;
  }
  if (receiver == nullptr) return NobodyListens(address);
  return receiver->Pair(request);
}

std::shared_ptr<PushStream> MemoryTransport::OpenPush(const std::string& address,
                                                      absl::Duration /*timeout*/,
                                                      PushStream::Events events) {
  std::unique_ptr<KvReceiverStream> receiver;
  {
    MutexLock lock(mutex_);
    if (auto found = receivers_.find(address); found != receivers_.end()) {
      receiver = found->second->OpenStream();
    }
  }
  const bool connected = receiver != nullptr;
  auto stream = std::make_shared<Stream>(*this, std::move(receiver), std::move(events));
  if (!connected) stream->Close(NobodyListens(address));
  return stream;
}

void MemoryTransport::Enqueue(std::shared_ptr<Stream> stream, OutgoingFrame frame) {
  MutexLock lock(mutex_);
  under_way_.push_back({std::move(stream), std::move(frame), frames_sent_++});
}

// Takes the next frame to deliver and the fault that is meant for it.
bool MemoryTransport::Take(Delivery& delivery, std::optional<Fault>& fault) {
  MutexLock lock(mutex_);
  if (under_way_.empty()) return false;
  auto found = faults_.find(under_way_.front().number);
  if (found != faults_.end() && found->second == Fault::kDelay) {
    faults_.erase(found);
    if (under_way_.size() > 1) std::swap(under_way_[0], under_way_[1]);
    found = faults_.find(under_way_.front().number);
  }
  delivery = std::move(under_way_.front());
  under_way_.pop_front();
  if (found != faults_.end()) {
    fault = found->second;
    faults_.erase(found);
  }
  return true;
}

bool MemoryTransport::Pump() {
  Delivery delivery;
  std::optional<Fault> fault;
  if (!Take(delivery, fault)) return false;
  if (fault == Fault::kClose) {
    delivery.stream->Close(absl::UnavailableError("the connection broke"));
  }
  if (fault == Fault::kDrop || !delivery.stream->BeginDelivery()) return true;

  IncomingFrame frame;
  frame.manifest = delivery.frame.manifest;
  frame.has_commit = delivery.frame.commit != nullptr;
  if (frame.has_commit) frame.commit = *delivery.frame.commit;
  frame.payload = delivery.frame.payload;
  for (absl::Span<const uint8_t> piece : frame.payload) frame.payload_bytes += piece.size();

  std::vector<uint8_t> damaged;
  if (fault == Fault::kCorruptPayload && !frame.payload.empty()) {
    damaged.assign(frame.payload[0].begin(), frame.payload[0].end());
    damaged[damaged.size() / 2] ^= 0x10;
    frame.payload[0] = damaged;
  }
  if (fault == Fault::kCorruptManifest) {
    frame.manifest.set_layer(frame.manifest.layer() ^ 1);
    frame.commit.set_prompt_tokens(frame.commit.prompt_tokens() ^ 1);
  }
  delivery.stream->Deliver(frame, fault != Fault::kDropAck);
  if (fault == Fault::kDuplicate) delivery.stream->Deliver(frame, true);
  delivery.stream->EndDelivery();
  return true;
}

}  // namespace baton::kvcache
