// What prefill and decode nodes share as processes: address, gRPC server, registration, readiness,
// drain.
#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/config.pb.h"
#include "proto/node.pb.h"
#include "server/grpc_server.h"
#include "server/registration.h"

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
  };

  // Listens, serves, registers with the router and announces readiness on stdout. `services` and
  // what `load` and `cache` use must outlive the shell.
  static absl::StatusOr<std::unique_ptr<NodeShell>> Start(
      const v1::NodeConfig& config, const v1::ProcessConfig& process, v1::NodeRole role,
      const Description& description, const std::vector<grpc::Service*>& services,
      std::function<v1::NodeLoad()> load, CacheFeed cache);

  // Health turns to NOT_SERVING and the router hears of it at once.
  void StartDraining();
  // Leaves the cluster, runs `end_calls` (which must end every open call), then closes the server.
  void Stop(const std::function<void()>& end_calls);

 private:
  NodeShell() = default;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<Registration> registration_;
};

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
  options.on_progress = LoadProgress(config.model());
  return options;
}

}  // namespace baton::server
