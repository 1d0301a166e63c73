// The gRPC service that nodes register at.
#pragma once

#include "proto/node.grpc.pb.h"
#include "router/cluster_view.h"

namespace baton::router {

class RegistryService final : public v1::Registry::CallbackService {
 public:
  // `cluster` must outlive the service.
  explicit RegistryService(ClusterView& cluster) : cluster_(cluster) {}

  grpc::ServerBidiReactor<v1::NodeReport, v1::RouterReply>* Join(
      grpc::CallbackServerContext* context) override;

 private:
  ClusterView& cluster_;
};

}  // namespace baton::router
