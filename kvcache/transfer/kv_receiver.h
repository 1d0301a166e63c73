// The decode node's side of the hand-over: checks every frame in full, then copies it into leased
// blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kvcache/kv_layout.h"
#include "kvcache/kv_store.h"
#include "kvcache/transfer/block_bytes.h"
#include "proto/kv_transfer.pb.h"

namespace baton::kvcache {

// Where frames go: implemented by decode_node/kv_intake, which owns the leases. Thread-safe.
class KvSink {
 public:
  // Writing into the blocks of a lease. While a WriteGrant lives, the blocks are not given back to
  // the pool, even when the lease ends meanwhile: nobody else can own a block that somebody still
  // writes.
  class WriteGrant {
   public:
    virtual ~WriteGrant() = default;
    // The store's blocks that hold tokens(), in order.
    virtual absl::Span<const int32_t> block_ids() const = 0;
    // What may be written: the tokens of the range that the manifest named, less those that the
    // lease has already and those behind its end. All of the range where block sizes are equal.
    virtual TokenRange tokens() const = 0;
  };

  virtual ~KvSink() = default;
  // Called before a byte is copied. NotFound (ticket unknown, expired, used), Aborted (older
  // epoch), InvalidArgument (range outside the lease). Touches the lease's expiry. A newer epoch
  // invalidates what older ones wrote.
  virtual absl::StatusOr<std::unique_ptr<WriteGrant>> BeginWrite(
      const v1::KvManifest& manifest) = 0;
  // The frame's bytes are in place. Marks (layer, blocks) as present.
  virtual void EndWrite(const v1::KvManifest& manifest) = 0;
  // FailedPrecondition when blocks are missing. On OK the sequence is runnable and the ticket is
  // used up.
  virtual absl::Status Commit(const v1::KvCommit& commit) = 0;
};

// One received frame: header fields and the payload as the pieces in which it arrived.
struct IncomingFrame {
  v1::KvManifest manifest;
  bool has_commit = false;
  v1::KvCommit commit;
  std::vector<absl::Span<const uint8_t>> payload;
  int64_t payload_bytes = 0;
};

// Credit and checks of one Push stream; transports feed it. Not thread-safe: one stream, one caller
// at a time.
class KvReceiverStream {
 public:
  virtual ~KvReceiverStream() = default;
  // Handles one frame. The ack (if any is due) must be sent to the peer; an error ends the stream
  // with that status.
  virtual absl::StatusOr<v1::KvAck> OnFrame(const IncomingFrame& frame) = 0;
};

// One per decode node. Thread-safe.
class KvReceiver {
 public:
  struct Options {
    uint64_t incarnation = 0;  // of this decode node
    int64_t window_bytes = 16 << 20;
  };
  struct Stats {
    int64_t bytes = 0, frames = 0, frames_refused = 0;
  };
  // `sink` and `store` must outlive the receiver.
  static std::unique_ptr<KvReceiver> Create(KvSink& sink, const KvStore& store,
                                            const KvLayout& layout, Options options);
  virtual ~KvReceiver() = default;

  virtual absl::StatusOr<v1::PairReply> Pair(const v1::PairRequest& request) = 0;
  virtual std::unique_ptr<KvReceiverStream> OpenStream() = 0;
  virtual Stats stats() const = 0;
};

}  // namespace baton::kvcache
