// The public gRPC API: the same requests, limits and answers as over HTTP.
#pragma once

#include "proto/inference.grpc.pb.h"
#include "router/router_context.h"

namespace baton::router {

class InferenceService final : public v1::Inference::CallbackService {
 public:
  // `router` must outlive the service and its calls.
  explicit InferenceService(RouterContext& router) : router_(router) {}

  grpc::ServerWriteReactor<v1::GenerateChunk>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* Embed(grpc::CallbackServerContext* context,
                                  const v1::EmbedRequest* request, v1::EmbedReply* reply) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeReply* reply) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeReply* reply) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsReply* reply) override;

  grpc::ServerUnaryReactor* GetLoads(grpc::CallbackServerContext* context,
                                     const v1::GetLoadsRequest* request,
                                     v1::GetLoadsReply* reply) override;

 private:
  RouterContext& router_;
};

}  // namespace baton::router
