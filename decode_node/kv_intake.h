// Leases: blocks that are reserved for a hand-over, and who may write them.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "kvcache/block_pool.h"
#include "kvcache/transfer/kv_receiver.h"
#include "proto/types.pb.h"

namespace baton::decode_node {

// How a lease ends other than by Release. Exactly one of them is called, on a thread of the
// transport or of the timer, without a lock held.
struct LeaseEvents {
  // Every block is there: the sequence may run.
  std::function<void(std::vector<kvcache::BlockRef> blocks, const v1::Token& first_token)>
      on_committed;
  // Nobody wrote or renewed for the lease's time-out.
  std::function<void(absl::Status)> on_expired;
};

// Thread-safe. A ticket is used once: after its lease ended in any way it is remembered (for the
// latest 65,536 tickets), so that neither a late frame nor a repeated request can bring it back.
class KvIntake final : public kvcache::KvSink {
 public:
  // All must outlive the intake.
  KvIntake(kvcache::BlockPool& pool, int32_t layers, int32_t block_tokens, const Clock& clock,
           absl::Duration lease_timeout);
  ~KvIntake() override;

  // Leases blocks for `prompt_tokens` tokens. `reused` are the first of them, which the node has
  // already and nobody may write; the others are reserved. ResourceExhausted without blocks,
  // AlreadyExists for a ticket seen before, InvalidArgument for one that is not 16 bytes.
  absl::Status Reserve(const v1::Ticket& ticket, int32_t prompt_tokens,
                       std::vector<kvcache::BlockRef> reused, LeaseEvents events);
  // Ends a lease without an event; unknown tickets are remembered as used, so that a cancel that
  // overtakes its request wins.
  void Release(const std::string& ticket_id);
  // Postpones the expiry of the leases; returns the ids that have none.
  std::vector<std::string> Renew(const std::vector<std::string>& ticket_ids);
  // Ends the leases whose time is over. Called by a timer.
  void Expire();

  absl::StatusOr<std::unique_ptr<WriteGrant>> BeginWrite(const v1::KvManifest& manifest) override;
  void EndWrite(const v1::KvManifest& manifest) override;
  absl::Status Commit(const v1::KvCommit& commit) override;

 private:
  struct Lease;
  class Grant;
  using Leases = std::map<std::string, std::shared_ptr<Lease>>;

  // The lease that a frame of this ticket may touch.
  absl::StatusOr<std::shared_ptr<Lease>> Find(const v1::Ticket& ticket)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The tokens that a frame within the lease may write.
  kvcache::TokenRange WritableTokens(const Lease& lease, const v1::KvManifest& manifest) const;
  bool IsKnown(const std::string& ticket_id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return leases_.count(ticket_id) > 0 || used_.count(ticket_id) > 0;
  }
  void Bury(const std::string& ticket_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GrantEnded(Lease& lease);

  kvcache::BlockPool& pool_;
  const int32_t layers_;
  const int32_t block_tokens_;
  const Clock& clock_;
  const absl::Duration lease_timeout_;
  Mutex mutex_;
  CondVar no_grants_;
  Leases leases_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int> used_ ABSL_GUARDED_BY(mutex_);  // tombstones
  std::deque<std::string> used_order_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace baton::decode_node
