// The router process: everything of it, wired together.
#pragma once

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/config.pb.h"
#include "router/http_api.h"
#include "router/http_listener.h"
#include "router/inference_service.h"
#include "router/registry_service.h"
#include "router/role_balancer.h"
#include "router/router_context.h"
#include "router/span_exporter.h"
#include "server/grpc_server.h"

namespace baton::router {

class RouterNode {
 public:
  // Loads the tokenizer and listens on all three addresses. Errors name the file or the address.
  static absl::StatusOr<std::unique_ptr<RouterNode>> Start(const v1::RouterConfig& config,
                                                           const HttpLimits& limits = {});
  ~RouterNode();

  // Bound addresses, "host:port".
  const std::string& http_address() const { return http_->address(); }
  const std::string& grpc_address() const { return public_grpc_->address(); }
  const std::string& cluster_address() const { return cluster_grpc_->address(); }

  // From now on new requests are answered with 503; running ones go on.
  void StartDraining();
  bool idle() const { return admission_.held() == 0; }
  // Cuts what is still running and ends all threads. False when a connection or a call would not
  // end in time: then the process must leave without destroying this. Called by the destructor.
  bool Stop();

  RouterContext& context() { return *context_; }

 private:
  explicit RouterNode(const v1::RouterConfig& config);
  absl::Status LoadModel();
  absl::Status Listen(const HttpLimits& limits);
  void MakeCluster();
  // Several times in node_timeout_ms: drops silent nodes and tells the public health service.
  void Sweep();
  // Moves a node of role any where requests wait for its other role.
  void BalanceRoles();
  // While requests wait, tries again to let some begin.
  void SchedulePoke();
  // Ends the requests that still run, so that each client is told.
  void BreakOffRequests();

  const v1::RouterConfig config_;
  std::unique_ptr<models::text::Tokenizer> tokenizer_;
  std::unique_ptr<GrammarCheck> grammars_;
  TurnFormat turn_format_;
  int64_t model_context_length_ = 0;
  std::optional<uint64_t> model_fingerprint_;  // of a GGUF file
  SystemRng rng_;
  OpenCalls open_calls_;
  RouterMetrics metrics_;
  CacheIndex caches_;
  RequestLog requests_{SystemClock::Get()};
  std::unique_ptr<SpanExporter> spans_;  // null: no otlp_endpoint
  Admission admission_;
  RoleBalancer balancer_;  // on the first loop
  std::unique_ptr<ClusterView> cluster_;
  // Everything that the loops run refers to what stands above, so that they go first.
  std::unique_ptr<EventLoops> loops_;
  std::unique_ptr<boost::asio::steady_timer> sweep_;
  std::unique_ptr<boost::asio::steady_timer> poke_;
  std::shared_ptr<LeaseRenewer> leases_;
  std::unique_ptr<RouterContext> context_;
  std::unique_ptr<HttpApi> api_;
  std::unique_ptr<InferenceService> inference_;
  std::unique_ptr<RegistryService> registry_;
  std::unique_ptr<server::GrpcServer> public_grpc_;
  std::unique_ptr<server::GrpcServer> cluster_grpc_;
  std::shared_ptr<HttpListener> http_;
  bool public_serving_ = false;  // on the first loop
  bool stopped_ = false;
  bool ended_in_time_ = true;
};

}  // namespace baton::router
