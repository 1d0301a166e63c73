// The gRPC twin's requests, checked by the same rules as the HTTP API's.
#pragma once

#include <grpcpp/server_context.h>

#include <optional>

#include "base/rng.h"
#include "proto/inference.pb.h"
#include "router/openai_api.h"

namespace baton::router {

// Names the field in the error. Token ids must be below `vocab_size`.
std::optional<ApiError> ReadGenerateRequest(const v1::GenerateRequest& request, int32_t vocab_size,
                                            ApiRequest* api);
// The messages as a JSON array for the chat template.
std::optional<ApiError> ReadChatMessages(const v1::ChatMessages& chat, std::string* messages);

// The same for Embed.
std::optional<ApiError> ReadEmbedRequest(const v1::EmbedRequest& request, Generation* generation);

// The trace that a call belongs to by its metadata, or a new one.
TraceContext TraceOfCall(const grpc::ServerContextBase& context, Rng& rng);

}  // namespace baton::router
