// What prefill and decode nodes share as processes: address, gRPC server, registration, readiness,
// drain.
#pragma once

#include <atomic>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/config.pb.h"
#include "proto/node.pb.h"
#include "server/grpc_server.h"
#include "server/registration.h"
#include "server/shared_feed.h"

namespace baton::server {

class NodeShell {
 public:
  // What a node says of itself.
  struct Description {
    uint64_t incarnation = 0;
    v1::KvLayout layout;
    std::string model_name;
    int64_t context_length = 0;
    std::string device;
    int32_t blocks = 0;
    bool movable = false;  // the router may ask for the other role
  };
  // What a node tells again and again, from any thread.
  struct Reports {
    std::function<v1::NodeLoad()> load;
    // How long the node has had work and finished none of it.
    std::function<absl::Duration()> stalled_for;
    CacheFeed cache;
  };

  // Listens, serves, registers with each router and announces readiness on stdout. `services` and
  // what `reports` uses must outlive the shell. A node that is stalled for stall_timeout_ms is
  // NOT_SERVING and leaves its routers, which move its sequences elsewhere, until it moves again.
  static absl::StatusOr<std::unique_ptr<NodeShell>> Start(
      const v1::NodeConfig& config, const v1::ProcessConfig& process, v1::NodeRole role,
      const Description& description, const std::vector<grpc::Service*>& services, Reports reports);

  // The role that the router wants a movable node to take next; NODE_ROLE_UNSPECIFIED where the
  // process is to end. RequestStop was called for it (server/process.h).
  v1::NodeRole next_role() const;
  // Health turns to NOT_SERVING and the router hears of it at once.
  void StartDraining();
  // Leaves the cluster, runs `end_calls` (which must end every open call), then closes the server.
  void Stop(const std::function<void()>& end_calls);

 private:
  NodeShell() = default;
  // OK, or that the node is stalled. Sets the health that gRPC's health service tells.
  absl::Status CheckProgress(absl::Duration stalled_for, absl::Duration limit);

  std::atomic<v1::NodeRole> wanted_role_{v1::NODE_ROLE_UNSPECIFIED};
  std::unique_ptr<GrpcServer> server_;
  std::atomic<bool> draining_{false};
  std::atomic<bool> stalled_{false};
  std::unique_ptr<SharedFeed> feed_;
  std::vector<std::unique_ptr<Registration>> registrations_;  // one a router
};

// The addresses in NodeConfig::router. InvalidArgument when there is none.
absl::StatusOr<std::vector<std::string>> RouterAddresses(const v1::NodeConfig& config);
// Credentials for calls to other processes of the cluster, wherever a router of `config` runs.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ClusterCredentials(
    const v1::NodeConfig& config, const v1::ProcessConfig& process);

// Shows how far a model's loading is, as lines on stderr (one per tenth).
std::function<void(float)> LoadProgress(const std::string& model);

// What the router hears of a prefix cache (null: nothing); `take` makes messages of its changes. A
// template because this component lies below kvcache.
template <typename Cache>
CacheFeed FeedOf(Cache* cache, bool (*take)(Cache& cache, v1::CacheEvents* events)) {
  if (cache == nullptr) return {};
  return {.restart = [cache] { cache->RestartFeed(); },
          .take = [cache, take](v1::CacheEvents* events) { return take(*cache, events); }};
}

// The fields of engine::AssemblyOptions from a node's configuration. A template because this
// component lies below engine.
template <typename Options>
Options AssemblyOptionsFrom(const v1::NodeConfig& config, const std::string& device,
                            int32_t batch_tokens_max) {
  Options options;
  options.model = config.model();
  options.device.name = device;
  options.device.threads = config.threads();
  options.device.isa = config.isa();
  options.batch_tokens_max = batch_tokens_max;
  options.context_max = config.max_context();
  options.block_tokens = config.block_tokens();
  options.kv_dtype = config.kv_dtype();
  options.kv_bytes = config.kv_bytes();
  options.prefix_cache = config.prefix_cache();
  options.cache_host_bytes = config.cache_host_bytes();
  options.cache_disk = config.cache_disk();
  options.cache_disk_bytes = config.cache_disk_bytes();
  options.on_progress = LoadProgress(config.model());
  return options;
}

}  // namespace baton::server
