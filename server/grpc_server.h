// A gRPC server with health (grpc.health.v1) and reflection.
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/tls.h"

namespace baton::server {

class GrpcServer {
 public:
  // Listens on `address` ("host:port", port 0 takes a free one) and serves `services` (not owned).
  // Unavailable when the port is taken; errors of ServerCredentials.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const std::string& address, const TlsOptions& tls,
      const std::vector<grpc::Service*>& services);
  ~GrpcServer();

  // The bound address with the real port.
  const std::string& address() const { return address_; }
  // grpc.health.v1 status of the whole server and of each service. Thread-safe; without effect
  // after Shutdown.
  void SetServing(bool serving);
  // Refuses new calls, waits `timeout` for running ones, then cancels them. Idempotent.
  void Shutdown(absl::Duration timeout);

 private:
  GrpcServer() = default;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
  bool shut_down_ = false;
};

// Channel arguments for calls between processes: keepalive, message sizes, no retries.
grpc::ChannelArguments InternalChannelArguments();

}  // namespace baton::server
