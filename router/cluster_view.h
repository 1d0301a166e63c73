// Which nodes there are, and how loaded each said it was. Readers take immutable snapshots.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "proto/node.pb.h"
#include "router/cache_index.h"
#include "router/node_client.h"

namespace baton::router {

// A registered node at one moment. Immutable.
struct Node {
  uint64_t registration = 0;
  v1::NodeHello hello;
  v1::NodeLoad load;
  absl::Duration clock_skew;  // the node's clock against the router's, at its latest report
  std::shared_ptr<NodeClient> client;
};

// The cluster at one moment. Immutable. All nodes of it have equal layouts and fingerprints: Join
// sees to that.
struct ClusterSnapshot {
  std::vector<std::shared_ptr<const Node>> prefill;
  std::vector<std::shared_ptr<const Node>> decode;
  std::map<std::string, v1::NodeRole> gone;  // names of nodes that were here and are not any more
  // What block hashes are made of, apart from tokens and salt: (block_tokens, model fingerprint).
  std::set<std::pair<int32_t, uint64_t>> caches;
  bool ended = false;  // LoseAll: none will come any more

  // The most tokens of one sequence that some decode node takes, and some prefill node too where
  // they are needed; 0 where one of them is missing.
  int64_t context_length(bool prefill_needed = true) const;
  // Empty when a decode node is there that is not draining, and a prefill node too where they are
  // needed; otherwise a sentence about what is missing.
  std::string Missing(bool prefill_needed = true) const;
};

// Thread-safe.
class ClusterView {
 public:
  using ClientFactory =
      std::function<absl::StatusOr<std::shared_ptr<NodeClient>>(const v1::NodeHello& hello)>;

  // A node silent for `node_timeout` is gone. `clock` and `caches`, which hears of what nodes have
  // cached, must outlive the view. Nodes of another model than that of `model_fingerprint` are
  // refused; nullopt: the first node decides.
  ClusterView(absl::Duration node_timeout, const Clock& clock, CacheIndex& caches,
              ClientFactory factory, std::optional<uint64_t> model_fingerprint = std::nullopt);
  ~ClusterView();

  // Registers a node and returns the number of its registration. A node of the same name is
  // replaced: the newcomer has the newer incarnation. InvalidArgument for a hello that is not
  // complete, FailedPrecondition naming the field in which it differs from the router or from the
  // nodes that are there.
  absl::StatusOr<uint64_t> Join(const v1::NodeHello& hello) ABSL_LOCKS_EXCLUDED(mutex_);
  // NotFound when the registration has ended: the node was silent for too long or was replaced.
  absl::Status Report(uint64_t registration, const v1::NodeLoad& load) ABSL_LOCKS_EXCLUDED(mutex_);
  // False where events were lost: the node should send all that it has.
  bool ReportCache(uint64_t registration, const v1::CacheEvents& events)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The node's stream ended. No effect on a registration that has been replaced.
  void Leave(uint64_t registration) ABSL_LOCKS_EXCLUDED(mutex_);
  // Drops nodes that have been silent for too long; to be called several times in node_timeout.
  void ExpireSilent() ABSL_LOCKS_EXCLUDED(mutex_);

  // Asks a movable node to take another role, with its next report. No effect where the
  // registration has ended.
  void AskForRole(uint64_t registration, v1::NodeRole role) ABSL_LOCKS_EXCLUDED(mutex_);
  // NODE_ROLE_UNSPECIFIED: it may stay what it is.
  v1::NodeRole WantedRole(uint64_t registration) const ABSL_LOCKS_EXCLUDED(mutex_);

  // Ends every call to every node; for the end of the process.
  void LoseAll() ABSL_LOCKS_EXCLUDED(mutex_);

  std::shared_ptr<const ClusterSnapshot> snapshot() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Registration {
    std::shared_ptr<const Node> node;
    absl::Time last_heard;
    v1::NodeRole wanted_role = v1::NODE_ROLE_UNSPECIFIED;
  };
  // Removes without telling the calls of the node; returns its client, whose Lose the caller calls
  // outside of the lock.
  std::shared_ptr<NodeClient> Remove(uint64_t registration, absl::string_view why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Publish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const absl::Duration node_timeout_;
  const Clock& clock_;
  CacheIndex& caches_;
  const ClientFactory factory_;
  const std::optional<uint64_t> model_fingerprint_;
  mutable Mutex mutex_;
  uint64_t next_registration_ ABSL_GUARDED_BY(mutex_) = 1;
  std::map<uint64_t, Registration> registrations_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, v1::NodeRole> gone_ ABSL_GUARDED_BY(mutex_);
  std::set<std::pair<int32_t, uint64_t>> cache_keys_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<const ClusterSnapshot> snapshot_ ABSL_GUARDED_BY(mutex_);
};

// OK when `hello` is complete in itself.
absl::Status CheckHello(const v1::NodeHello& hello);
// OK when two nodes may hand keys and values to each other; otherwise FailedPrecondition naming the
// first field that differs, with both values.
absl::Status CheckCompatible(const v1::NodeHello& hello, const v1::NodeHello& other);
// OK when the node computes with the model whose tokenizer the router uses; otherwise
// FailedPrecondition with both fingerprints.
absl::Status CheckModel(const v1::NodeHello& hello, uint64_t model_fingerprint);

}  // namespace baton::router
