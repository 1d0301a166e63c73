// A KvFrame's bytes on the wire, made and read without copying the payload (docs/kv_format.md).
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kvcache/transfer/kv_receiver.h"
#include "kvcache/transfer/transport.h"

namespace baton::kvcache {

// A KvFrame's bytes: serialised manifest or commit, then the payload field's tag and length, then
// the slices themselves. The payload must stay unchanged until gRPC has dropped its last reference
// to it; each of those references holds a copy of `pin`, so that the pin's deleter tells when that
// was.
grpc::ByteBuffer EncodeFrame(const OutgoingFrame& frame, const std::shared_ptr<void>& pin = {});

// The reverse, without copying the payload: the spans point into `slices`, which keeps the memory
// alive. InvalidArgument for anything that is not a well-formed KvFrame with the payload last.
absl::StatusOr<IncomingFrame> DecodeFrame(grpc::ByteBuffer& buffer,
                                          std::vector<grpc::Slice>& slices);

}  // namespace baton::kvcache
