// Both ends of the hand-over in one process: no sockets, no threads, delivery only when told to,
// and faults on request.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "kvcache/transfer/kv_receiver.h"
#include "kvcache/transfer/transport.h"

namespace baton::kvcache {

// Frames are numbered from 0 in the order in which they were sent, over all streams. Given the same
// order of calls, the same faults happen. Thread-safe; acks and ends of streams are delivered on
// the thread that calls Pump or Cancel.
class MemoryTransport final : public Transport {
 public:
  enum class Fault : uint8_t {
    kDrop,             // never arrives
    kDuplicate,        // arrives twice
    kDelay,            // arrives after the frame behind it
    kCorruptPayload,   // one bit flipped
    kCorruptManifest,  // one bit flipped in the layer, or in the commit's prompt tokens
    kDropAck,          // arrives, but its ack does not
    kClose,            // the stream breaks instead
  };

  // Frames to `address` go to `receiver`, which must outlive the transport or be removed with null.
  void Listen(const std::string& address, KvReceiver* receiver);
  // Number `frame` of those sent from now on.
  void Inject(int64_t frame, Fault fault);
  // Delivers the oldest frame that is under way and its ack. False when there is none.
  bool Pump();
  // Frames sent so far.
  int64_t frames_sent() const;

  absl::StatusOr<v1::PairReply> Pair(const std::string& address, const v1::PairRequest& request,
                                     absl::Duration timeout) override;
  std::shared_ptr<PushStream> OpenPush(const std::string& address, absl::Duration timeout,
                                       PushStream::Events events) override;

 private:
  class Stream;
  struct Delivery {
    std::shared_ptr<Stream> stream;
    OutgoingFrame frame;
    int64_t number = 0;
  };
  void Enqueue(std::shared_ptr<Stream> stream, OutgoingFrame frame);
  bool Take(Delivery& delivery, std::optional<Fault>& fault);

  mutable Mutex mutex_;
  std::map<std::string, KvReceiver*> receivers_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, Fault> faults_ ABSL_GUARDED_BY(mutex_);
  std::deque<Delivery> under_way_ ABSL_GUARDED_BY(mutex_);
  int64_t frames_sent_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace baton::kvcache
