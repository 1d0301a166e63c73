// One Embed call of the public gRPC API.
#pragma once

#include "proto/inference.grpc.pb.h"
#include "router/router_context.h"

namespace baton::router {

// The reactor to return to gRPC. `router` must outlive the call; `context` and `request` are
// read at once, `reply` must stay until the call is done.
grpc::ServerUnaryReactor* StartEmbed(RouterContext& router,
                                     const grpc::CallbackServerContext& context,
                                     const v1::EmbedRequest& request, v1::EmbedReply* reply);

}  // namespace baton::router
