// The prefill node's side of the hand-over: pushes finished blocks layer by layer, within the
// receiver's credit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kvcache/kv_layout.h"
#include "kvcache/kv_store.h"
#include "kvcache/transfer/transport.h"
#include "proto/types.pb.h"

namespace baton::kvcache {

// The hand-over of one sequence. Thread-safe; never blocks the caller.
//
// The blocks named in SendBlocks must stay owned and unchanged until on_done ran: writer lifetime,
// not request lifetime.
class KvPush {
 public:
  virtual ~KvPush() = default;
  // Queues the keys and values of one layer of consecutive blocks: `block_ids` are physical blocks
  // of the KvStore, the first of them being number `block_begin` of the sequence's block table.
  // Checksummed on a thread of the sender.
  virtual void SendBlocks(int32_t layer, int32_t block_begin,
                          absl::Span<const int32_t> block_ids) = 0;
  // All blocks were queued: asks the receiver to commit. on_done follows.
  virtual void Commit(int32_t prompt_tokens, const v1::Token& first_token) = 0;
  // Gives up; on_done(Cancelled) follows unless it already ran.
  virtual void Cancel() = 0;
  // Payload bytes sent so far, resent ones included.
  virtual int64_t bytes_sent() const = 0;
};

struct KvPushTarget {
  std::string address;  // of the decode node
  uint64_t decode_incarnation = 0;
  v1::Ticket ticket;
  // Longest life of the hand-over's stream, the prefill that feeds it included.
  absl::Duration timeout = absl::Minutes(10);
};

// One per prefill node. Thread-safe.
class KvSender {
 public:
  struct Options {
    std::string node_id;
    uint64_t incarnation = 0;
    absl::Duration pair_timeout = absl::Seconds(2);
    // Without an ack while frames are out: DeadlineExceeded.
    absl::Duration progress_timeout = absl::Seconds(10);
  };
  // `transport` and `store` must outlive the sender.
  static std::unique_ptr<KvSender> Create(Transport& transport, const KvStore& store,
                                          const KvLayout& layout, Options options);
  virtual ~KvSender() = default;

  // Starts a hand-over. Pairs first where this decode incarnation is not known yet; what is queued
  // meanwhile waits. `on_done` runs exactly once, on a thread of the sender: OK after the receiver
  // acknowledged the commit, otherwise the error (codes of KvTransfer.Push, Unavailable when the
  // peer is gone, Cancelled).
  virtual std::shared_ptr<KvPush> Start(const KvPushTarget& target,
                                        std::function<void(absl::Status)> on_done) = 0;
};

}  // namespace baton::kvcache
