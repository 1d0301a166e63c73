#include "decode_node/kv_intake.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kvcache/block_table.h"

namespace baton::decode_node {
namespace {

constexpr size_t kTicketBytes = 16;
constexpr size_t kTombstonesMax = 65536;
// What a frame of any block size writes is a multiple of this.
constexpr int32_t kPieceTokens = 16;

}  // namespace

struct KvIntake::Lease {
  uint64_t epoch = 0;
  int32_t prompt_tokens = 0;
  std::vector<kvcache::BlockRef> blocks;
  std::vector<int32_t> ids;   // of blocks
  std::vector<bool> present;  // [layer * pieces + piece]
  int32_t pieces = 0;         // of kPieceTokens tokens, up to the prompt's end
  int32_t reused = 0;         // of the blocks, those at the beginning that are shared
  int32_t reused_tokens = 0;  // in those
  absl::Time expiry;
  int32_t grants = 0;
  LeaseEvents events;

  ~Lease() { kvcache::GiveBack(std::move(blocks)); }
  // Nothing was written yet: present is what is reused.
  void ForgetWrites() {
    for (size_t i = 0; i < present.size(); ++i) {
      present[i] = static_cast<int32_t>(i) % pieces < reused_tokens / kPieceTokens;
    }
  }
};

// Keeps the lease, and with it the blocks, until the write is over.
class KvIntake::Grant final : public kvcache::KvSink::WriteGrant {
 public:
  Grant(KvIntake& intake, std::shared_ptr<Lease> lease, absl::Span<const int32_t> ids,
        kvcache::TokenRange tokens)
      : intake_(intake), lease_(std::move(lease)), ids_(ids), tokens_(tokens) {}
  ~Grant() override { intake_.GrantEnded(*lease_); }
  absl::Span<const int32_t> block_ids() const override { return ids_; }
  kvcache::TokenRange tokens() const override { return tokens_; }

 private:
  KvIntake& intake_;
  std::shared_ptr<Lease> lease_;
  const absl::Span<const int32_t> ids_;
  const kvcache::TokenRange tokens_;
};

KvIntake::KvIntake(kvcache::BlockPool& pool, int32_t layers, int32_t block_tokens,
                   const Clock& clock, absl::Duration lease_timeout)
    : pool_(pool),
      layers_(layers),
      block_tokens_(block_tokens),
      clock_(clock),
      lease_timeout_(lease_timeout) {}

KvIntake::~KvIntake() = default;

absl::Status KvIntake::Reserve(const v1::Ticket& ticket, int32_t prompt_tokens,
                               std::vector<kvcache::BlockRef> reused, LeaseEvents events) {
  if (ticket.id().size() != kTicketBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("ticket has ", ticket.id().size(), " bytes, needs ", kTicketBytes));
  }
  {
    MutexLock lock(mutex_);
    if (IsKnown(ticket.id())) return absl::AlreadyExistsError("ticket was used before");
  }
  // Without the lock: the cache hears of the blocks that make room.
  auto lease = std::make_shared<Lease>();
  lease->blocks = std::move(reused);
  lease->reused = static_cast<int32_t>(lease->blocks.size());
  lease->reused_tokens = lease->reused * block_tokens_;
  BATON_ASSIGN_OR_RETURN(
      std::vector<kvcache::BlockRef> missing,
      pool_.Allocate(kvcache::BlocksFor(prompt_tokens, block_tokens_) - lease->reused,
                     kvcache::BlockPool::Use::kLeased));
  std::move(missing.begin(), missing.end(), std::back_inserter(lease->blocks));
  MutexLock lock(mutex_);
  if (IsKnown(ticket.id())) return absl::AlreadyExistsError("ticket was used before");
  lease->epoch = ticket.epoch();
  lease->prompt_tokens = prompt_tokens;
  for (const kvcache::BlockRef& block : lease->blocks) lease->ids.push_back(block.id());
  lease->pieces = kvcache::BlocksFor(prompt_tokens, kPieceTokens);
  lease->present.resize(static_cast<size_t>(layers_) * lease->pieces);
  lease->ForgetWrites();
  lease->expiry = clock_.Now() + lease_timeout_;
  lease->events = std::move(events);
  leases_.emplace(ticket.id(), std::move(lease));
  return absl::OkStatus();
}

void KvIntake::Release(const std::string& ticket_id) {
  std::shared_ptr<Lease> ended;  // destroyed, with its blocks, after the lock is gone
  MutexLock lock(mutex_);
  const auto found = leases_.find(ticket_id);
  if (found != leases_.end()) {
    ended = std::move(found->second);
    leases_.erase(found);
  }
  Bury(ticket_id);
}

std::vector<std::string> KvIntake::Renew(const std::vector<std::string>& ticket_ids) {
  std::vector<std::string> unknown;
  MutexLock lock(mutex_);
  for (const std::string& id : ticket_ids) {
    const auto found = leases_.find(id);
    if (found == leases_.end()) {
      unknown.push_back(id);
    } else {
      found->second->expiry = clock_.Now() + lease_timeout_;
    }
  }
  return unknown;
}

void KvIntake::Expire() {
  std::vector<std::shared_ptr<Lease>> ended;
  {
    MutexLock lock(mutex_);
    const absl::Time now = clock_.Now();
    for (auto it = leases_.begin(); it != leases_.end();) {
      if (it->second->expiry > now) {
        ++it;
        continue;
      }
      ended.push_back(std::move(it->second));
      Bury(it->first);
      it = leases_.erase(it);
    }
  }
  for (const std::shared_ptr<Lease>& lease : ended) {
    lease->events.on_expired(absl::DeadlineExceededError(
        absl::StrCat("lease expired: no frame and no renewal for ",
                     absl::ToInt64Milliseconds(lease_timeout_), " ms")));
  }
}

absl::StatusOr<std::shared_ptr<KvIntake::Lease>> KvIntake::Find(const v1::Ticket& ticket) {
  const auto found = leases_.find(ticket.id());
  if (found == leases_.end()) {
    return absl::NotFoundError(used_.count(ticket.id()) > 0 ? "ticket was used, released or expired"
                                                            : "ticket is unknown");
  }
  Lease& lease = *found->second;
  if (ticket.epoch() < lease.epoch) {
    return absl::AbortedError(
        absl::StrCat("epoch ", ticket.epoch(), " is older than ", lease.epoch));
  }
  if (ticket.epoch() > lease.epoch) {
    // Another prefill node took over: nothing that the earlier one sent counts.
    lease.epoch = ticket.epoch();
    lease.ForgetWrites();
  }
  return found->second;
}

kvcache::TokenRange KvIntake::WritableTokens(const Lease& lease,
                                             const v1::KvManifest& manifest) const {
  const int64_t size = manifest.block_tokens() == 0 ? block_tokens_ : manifest.block_tokens();
  const int64_t begin = manifest.block_begin() * size;
  return {std::max<int64_t>(begin, lease.reused_tokens),
          std::min(begin + manifest.block_count() * size,
                   static_cast<int64_t>(lease.ids.size()) * block_tokens_)};
}

absl::StatusOr<std::unique_ptr<kvcache::KvSink::WriteGrant>> KvIntake::BeginWrite(
    const v1::KvManifest& manifest) {
  MutexLock lock(mutex_);
  BATON_ASSIGN_OR_RETURN(std::shared_ptr<Lease> lease, Find(manifest.ticket()));
  const int32_t size = manifest.block_tokens() == 0 ? block_tokens_ : manifest.block_tokens();
  const int64_t blocks = kvcache::BlocksFor(lease->prompt_tokens, size);
  const int64_t end = int64_t{manifest.block_begin()} + manifest.block_count();
  if (manifest.layer() < 0 || manifest.layer() >= layers_) {
    return absl::InvalidArgumentError(
        absl::StrCat("frame for layer ", manifest.layer(), " of ", layers_));
  }
  if (manifest.block_begin() < 0 || manifest.block_count() < 1 || end > blocks) {
    return absl::InvalidArgumentError(absl::StrCat("frame for blocks [", manifest.block_begin(),
                                                   ", ", end, "), the lease has ", blocks));
  }
  const kvcache::TokenRange tokens = WritableTokens(*lease, manifest);
  const bool all = tokens.begin == int64_t{manifest.block_begin()} * size;
  if (tokens.begin >= tokens.end || (size == block_tokens_ && !all)) {
    return absl::InvalidArgumentError(
        absl::StrCat("frame for block ", manifest.block_begin(), ", but the first ", lease->reused,
                     " blocks of the lease are there already and shared"));
  }
  lease->expiry = clock_.Now() + lease_timeout_;
  ++lease->grants;
  const int64_t first = tokens.begin / block_tokens_;
  const absl::Span<const int32_t> ids =
      absl::MakeConstSpan(lease->ids)
          .subspan(first, kvcache::BlocksFor(tokens.end, block_tokens_) - first);
  return std::make_unique<Grant>(*this, std::move(lease), ids, tokens);
}

void KvIntake::GrantEnded(Lease& lease) {
  MutexLock lock(mutex_);
  if (--lease.grants == 0) no_grants_.notify_all();
}

void KvIntake::EndWrite(const v1::KvManifest& manifest) {
  MutexLock lock(mutex_);
  const auto found = leases_.find(manifest.ticket().id());
  // A lease that ended or moved to a later epoch meanwhile has no use for the frame.
  if (found == leases_.end() || found->second->epoch != manifest.ticket().epoch()) return;
  Lease& lease = *found->second;
  const kvcache::TokenRange tokens = WritableTokens(lease, manifest);
  const int64_t end = std::min<int64_t>(tokens.end / kPieceTokens, lease.pieces);
  for (int64_t piece = tokens.begin / kPieceTokens; piece < end; ++piece) {
    lease.present[static_cast<size_t>(manifest.layer()) * lease.pieces + piece] = true;
  }
}

absl::Status KvIntake::Commit(const v1::KvCommit& commit) {
  std::shared_ptr<Lease> lease;
  {
    MutexLock lock(mutex_);
    BATON_ASSIGN_OR_RETURN(lease, Find(commit.ticket()));
    if (commit.prompt_tokens() != lease->prompt_tokens) {
      return absl::InvalidArgumentError(absl::StrCat("commit of ", commit.prompt_tokens(),
                                                     " tokens, the lease is for ",
                                                     lease->prompt_tokens));
    }
    const auto missing = std::count(lease->present.begin(), lease->present.end(), false);
    if (missing > 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "commit with ", missing, " of ", lease->present.size(), " layer pieces missing"));
    }
    leases_.erase(commit.ticket().id());
    Bury(commit.ticket().id());
    // A frame of an earlier epoch may still be copied, byte for byte the same; it is over in
    // microseconds.
    no_grants_.wait(mutex_, [&lease] { return lease->grants == 0; });
  }
  pool_.Promote(lease->blocks);
  lease->events.on_committed(std::move(lease->blocks), commit.first_token());
  return absl::OkStatus();
}

void KvIntake::Bury(const std::string& ticket_id) {
  if (!used_.emplace(ticket_id, 0).second) return;
  used_order_.push_back(ticket_id);
  if (used_order_.size() > kTombstonesMax) {
    used_.erase(used_order_.front());
    used_order_.pop_front();
  }
}

}  // namespace baton::decode_node
