// What the hand-over needs of a network: streams of frames one way and acknowledgements the other.
//
// Two implementations: grpc_transport (production) and memory_transport (tests: one process, no
// sockets, can drop, delay and corrupt). KvSender and KvReceiver hold all logic and are the same
// over both.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "proto/kv_transfer.pb.h"

namespace baton::kvcache {

// A frame to send. `payload` points at memory that stays unchanged until the frame is acknowledged
// or the stream is over.
struct OutgoingFrame {
  v1::KvManifest manifest;                         // set unless commit is
  std::vector<absl::Span<const uint8_t>> payload;  // slices, sent without a copy
  std::unique_ptr<v1::KvCommit> commit;            // last frame
};

// The sender's end of one Push stream.
class PushStream {
 public:
  // Called on a thread of the transport. OnClosed is the last call, exactly once.
  struct Events {
    std::function<void(const v1::KvAck&)> on_ack;
    std::function<void(absl::Status)> on_closed;
  };
  virtual ~PushStream() = default;
  // Queues a frame; never blocks. Frames leave in order. Ignored after the stream closed.
  virtual void Send(OutgoingFrame frame) = 0;
  // Breaks the stream; on_closed follows.
  virtual void Cancel() = 0;
};

// Thread-safe.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual absl::StatusOr<v1::PairReply> Pair(const std::string& address,
                                             const v1::PairRequest& request,
                                             absl::Duration timeout) = 0;
  virtual std::shared_ptr<PushStream> OpenPush(const std::string& address, absl::Duration timeout,
                                               PushStream::Events events) = 0;
};

}  // namespace baton::kvcache
