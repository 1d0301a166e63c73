#include "tests/fakes/fake_kv_sink.h"

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace baton::fakes {

class FakeKvSink::Grant final : public WriteGrant {
 public:
  Grant(FakeKvSink& sink, std::vector<int32_t> ids) : sink_(sink), ids_(std::move(ids)) {}
  ~Grant() override {
    MutexLock lock(sink_.mutex_);
    --sink_.live_grants_;
  }
  absl::Span<const int32_t> block_ids() const override { return ids_; }
  kvcache::TokenRange tokens() const override { return {}; }  // block sizes are equal

 private:
  FakeKvSink& sink_;
  const std::vector<int32_t> ids_;
};

void FakeKvSink::AddLease(const std::string& ticket_id, std::vector<int32_t> blocks,
                          uint64_t epoch) {
  MutexLock lock(mutex_);
  leases_[ticket_id] = {.blocks = std::move(blocks), .epoch = epoch, .present = {}};
}

void FakeKvSink::RemoveLease(const std::string& ticket_id) {
  MutexLock lock(mutex_);
  leases_.erase(ticket_id);
}

absl::StatusOr<std::unique_ptr<kvcache::KvSink::WriteGrant>> FakeKvSink::BeginWrite(
    const v1::KvManifest& manifest) {
  MutexLock lock(mutex_);
  auto found = leases_.find(manifest.ticket().id());
  if (found == leases_.end()) return absl::NotFoundError("ticket unknown, expired or used");
  Lease& lease = found->second;
  if (manifest.ticket().epoch() < lease.epoch) {
    return absl::AbortedError(
        absl::StrFormat("epoch %d is older than %d", manifest.ticket().epoch(), lease.epoch));
  }
  const int64_t end = int64_t{manifest.block_begin()} + manifest.block_count();
  if (end > static_cast<int64_t>(lease.blocks.size())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("block %d is outside the lease of %d", end, lease.blocks.size()));
  }
  if (manifest.ticket().epoch() > lease.epoch) {
    lease.epoch = manifest.ticket().epoch();
    lease.present.clear();
  }
  ++begun_writes_;
  ++live_grants_;
  return std::make_unique<Grant>(*this,
                                 std::vector<int32_t>(lease.blocks.begin() + manifest.block_begin(),
                                                      lease.blocks.begin() + end));
}

void FakeKvSink::EndWrite(const v1::KvManifest& manifest) {
  MutexLock lock(mutex_);
  auto found = leases_.find(manifest.ticket().id());
  if (found == leases_.end()) return;
  for (int32_t i = 0; i < manifest.block_count(); ++i) {
    found->second.present.insert({manifest.layer(), manifest.block_begin() + i});
  }
}

absl::Status FakeKvSink::Commit(const v1::KvCommit& commit) {
  MutexLock lock(mutex_);
  auto found = leases_.find(commit.ticket().id());
  if (found == leases_.end()) return absl::NotFoundError("ticket unknown, expired or used");
  const Lease& lease = found->second;
  if (commit.ticket().epoch() != lease.epoch) return absl::AbortedError("older epoch");
  const size_t needed = lease.blocks.size() * layers_;
  if (lease.present.size() != needed) {
    return absl::FailedPreconditionError(absl::StrFormat("%d of %d blocks of layers are missing",
                                                         needed - lease.present.size(), needed));
  }
  leases_.erase(found);
  commits_.push_back(commit);
  return absl::OkStatus();
}

std::vector<v1::KvCommit> FakeKvSink::commits() const {
  MutexLock lock(mutex_);
  return commits_;
}

int64_t FakeKvSink::present(const std::string& ticket_id) const {
  MutexLock lock(mutex_);
  auto found = leases_.find(ticket_id);
  return found == leases_.end() ? 0 : static_cast<int64_t>(found->second.present.size());
}

int64_t FakeKvSink::begun_writes() const {
  MutexLock lock(mutex_);
  return begun_writes_;
}

int32_t FakeKvSink::live_grants() const {
  MutexLock lock(mutex_);
  return live_grants_;
}

}  // namespace baton::fakes
