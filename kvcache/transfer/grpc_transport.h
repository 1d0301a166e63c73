// The hand-over over gRPC: payload slices go from and to KV blocks without passing through
// Protobuf.
#pragma once

#include <grpcpp/impl/codegen/service_type.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server_context.h>

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "kvcache/transfer/kv_frame.h"
#include "kvcache/transfer/kv_receiver.h"
#include "kvcache/transfer/transport.h"

namespace baton::kvcache {

// Client side. One channel per decode address, kept open.
std::unique_ptr<Transport> MakeGrpcTransport(std::shared_ptr<grpc::ChannelCredentials> credentials);

// Server side: the KvTransfer service, to be registered with a grpc::ServerBuilder. `check_peer`
// runs first in each call and may refuse it by the caller's certificate (server/tls.h). `receiver`
// must outlive the service. Tells the process's malloc to keep freed memory instead of returning
// it to the kernel.
std::unique_ptr<grpc::Service> MakeKvTransferService(
    KvReceiver& receiver, std::function<absl::Status(const grpc::ServerContextBase&)> check_peer);

}  // namespace baton::kvcache
