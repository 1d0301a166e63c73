// Fetches the cached beginning of a prompt from a peer into this node's own prefix cache.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "kvcache/kv_layout.h"
#include "kvcache/kv_store.h"
#include "kvcache/prefix_cache.h"

namespace baton::kvcache {

struct FetchResult {
  absl::Status status;  // of the call; blocks that came before an error count
  int32_t blocks = 0;   // filed in the cache
  int64_t bytes = 0;
  absl::Duration took;
};

// Thread-safe. Every frame is checked in full before a byte is copied, and a block is filed only
// when all its layers came: under the key that this node made of the tokens itself.
class KvFetcher {
 public:
  struct Parts {
    std::shared_ptr<grpc::ChannelCredentials> credentials;
    const KvStore& store;
    BlockPool& pool;
    PrefixCache& cache;
    const KvLayout& layout;
    const Clock& clock;
  };
  explicit KvFetcher(Parts parts);
  ~KvFetcher();  // waits for the calls under way

  // What is wanted: the blocks [begin, end) of `tokens` (at least end * block_tokens of them).
  struct Want {
    std::string address;  // of the peer
    uint64_t incarnation = 0;
    std::vector<int32_t> tokens;
    std::string cache_salt;
    int32_t begin = 0, end = 0;
    absl::Duration timeout;
  };
  // `on_done` runs exactly once, on a thread of gRPC or, where the pool has no room
  // (ResourceExhausted), on the caller's.
  void Fetch(Want want, std::function<void(FetchResult)> on_done);

  // Measured bytes/s of transfers from a peer, moving average; 0 where none was measured in the
  // last ten seconds. A call that failed counts with the time that it took, one that found nothing
  // does not count.
  double BytesPerSecond(const std::string& address) const;
  // Since start.
  int64_t bytes() const;

 private:
  class Call;
  struct Rate {
    double bytes_per_s = 0;
    absl::Time measured;
  };
  std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address);
  void Measure(const std::string& address, const FetchResult& result);
  void Ended();

  const Parts parts_;
  mutable Mutex mutex_;
  CondVar idle_;
  int32_t under_way_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Rate> rates_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace baton::kvcache
