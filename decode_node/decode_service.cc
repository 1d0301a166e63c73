#include "decode_node/decode_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "decode_node/decode_call.h"
#include "engine/wire/request_params.h"
#include "kvcache/transfer/kv_layout_proto.h"
#include "server/tls.h"

namespace baton::decode_node {

grpc::ServerWriteReactor<v1::DecodeEvent>* DecodeService::Generate(
    grpc::CallbackServerContext* context, const v1::DecodeRequest* request) {
  const auto make_sequence = [&]() -> absl::StatusOr<std::unique_ptr<engine::Sequence>> {
    BATON_RETURN_IF_ERROR(server::RequireRole(*context, {"router"}));
    if (draining_) return absl::UnavailableError("decode node is draining");
    BATON_RETURN_IF_ERROR(kvcache::CheckSameLayout(parts_.layout, request->layout()));
    BATON_ASSIGN_OR_RETURN(
        std::unique_ptr<engine::Sequence> sequence,
        engine::MakeSequence(request->prompt(), request->first_index(), request->sampling(),
                             request->stop(), parts_.config));
    BATON_RETURN_IF_ERROR(
        engine::AttachGrammar(parts_.grammars, request->sampling(), sequence.get()));
    // A preempted sequence holds blocks of nobody else: while one waits, no new one may take its
    // room.
    if (parts_.engine.stats().preempted > 0) {
      return absl::ResourceExhaustedError("kvcache: preempted sequences wait for blocks");
    }
    sequence->id = next_id_++;
    return sequence;
  };
  absl::StatusOr<std::unique_ptr<engine::Sequence>> sequence = make_sequence();
  absl::Status refused = sequence.status();
  const auto call = std::make_shared<DecodeCall>(
      parts_.engine, parts_.intake, parts_.clock, request->ticket().id(),
      sequence.ok() ? *std::move(sequence) : nullptr, active_);
  grpc::ServerWriteReactor<v1::DecodeEvent>* reactor = call->Attach();
  if (!refused.ok()) {
    call->Refuse(std::move(refused));
  } else {
    call->Lease(request->ticket(), parts_.lease_timeout_ms);
  }
  return reactor;
}

grpc::ServerUnaryReactor* DecodeService::Renew(grpc::CallbackServerContext* context,
                                               const v1::RenewRequest* request,
                                               v1::RenewReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::Status allowed = server::RequireRole(*context, {"router"});
  if (!allowed.ok()) {
    reactor->Finish(proto::ToGrpc(allowed));
    return reactor;
  }
  const std::vector<std::string> ids(request->ticket_ids().begin(), request->ticket_ids().end());
  for (std::string& id : parts_.intake.Renew(ids)) reply->add_unknown_ids(std::move(id));
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace baton::decode_node
