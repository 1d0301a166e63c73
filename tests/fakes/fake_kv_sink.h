// A KvSink with leases that never expire, and a record of what happened to them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "kvcache/transfer/kv_receiver.h"

namespace baton::fakes {

class FakeKvSink final : public kvcache::KvSink {
 public:
  explicit FakeKvSink(int32_t layers) : layers_(layers) {}

  // A lease on physical `blocks`, all of them missing.
  void AddLease(const std::string& ticket_id, std::vector<int32_t> blocks, uint64_t epoch = 1);
  // Ends a lease: later writes find no ticket.
  void RemoveLease(const std::string& ticket_id);

  absl::StatusOr<std::unique_ptr<WriteGrant>> BeginWrite(const v1::KvManifest& manifest) override;
  void EndWrite(const v1::KvManifest& manifest) override;
  absl::Status Commit(const v1::KvCommit& commit) override;

  std::vector<v1::KvCommit> commits() const;
  // (layer, block) pairs present in a lease.
  int64_t present(const std::string& ticket_id) const;
  int64_t begun_writes() const;
  // Grants that live now.
  int32_t live_grants() const;

 private:
  struct Lease {
    std::vector<int32_t> blocks;
    uint64_t epoch = 0;
    std::set<std::pair<int32_t, int32_t>> present;
  };
  class Grant;

  const int32_t layers_;
  mutable Mutex mutex_;
  std::map<std::string, Lease> leases_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::KvCommit> commits_ ABSL_GUARDED_BY(mutex_);
  int64_t begun_writes_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t live_grants_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace baton::fakes
