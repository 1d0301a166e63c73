// Gives cached blocks to peers that ask for them: the server's side of KvSource.Fetch.
#pragma once

#include <grpcpp/impl/codegen/service_type.h>
#include <grpcpp/server_context.h>

#include <atomic>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "kvcache/kv_layout.h"
#include "kvcache/kv_store.h"
#include "kvcache/prefix_cache.h"
#include "kvcache/tier_reader.h"

namespace baton::kvcache {

struct KvSourceParts {
  PrefixCache& cache;
  TierReader& tier_reader;  // of that cache: what a tier has is given, too
  const KvStore& store;
  const KvLayout& layout;
  uint64_t incarnation = 0;  // of this node
  // Runs first in each call and may refuse it by the caller's certificate (server/tls.h).
  std::function<absl::Status(const grpc::ServerContextBase&)> check_peer;
  std::atomic<int64_t>* bytes_sent = nullptr;  // payloads are counted there
};

// What the parts refer to must outlive the service. Blocks that are being sent count as used until
// the transport reads them no more.
std::unique_ptr<grpc::Service> MakeKvSourceService(KvSourceParts parts);

}  // namespace baton::kvcache
