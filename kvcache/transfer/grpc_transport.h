// The hand-over over gRPC: payload slices go from and to KV blocks without passing through
// Protobuf.
#pragma once

#include <grpcpp/impl/codegen/service_type.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "kvcache/transfer/kv_receiver.h"
#include "kvcache/transfer/transport.h"

namespace baton::kvcache {

// Client side. One channel per decode address, kept open.
std::unique_ptr<Transport> MakeGrpcTransport(std::shared_ptr<grpc::ChannelCredentials> credentials);

// Server side: the KvTransfer service, to be registered with a grpc::ServerBuilder. `check_peer`
// runs first in each call and may refuse it by the caller's certificate (server/tls.h). `receiver`
// must outlive the service.
std::unique_ptr<grpc::Service> MakeKvTransferService(
    KvReceiver& receiver, std::function<absl::Status(const grpc::ServerContextBase&)> check_peer);

// A KvFrame's bytes: serialised manifest or commit, then the payload field's tag and length, then
// the slices themselves. The slices must outlive the write.
grpc::ByteBuffer EncodeFrame(const OutgoingFrame& frame);
// The reverse, without copying the payload: the spans point into `slices`, which keeps the memory
// alive. InvalidArgument for anything that is not a well-formed KvFrame with the payload last.
absl::StatusOr<IncomingFrame> DecodeFrame(grpc::ByteBuffer& buffer,
                                          std::vector<grpc::Slice>& slices);

}  // namespace baton::kvcache
