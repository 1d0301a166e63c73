#include "decode_node/decode_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "decode_node/decode_call.h"
#include "engine/wire/request_params.h"
#include "kvcache/transfer/kv_layout_proto.h"
#include "server/tls.h"

namespace baton::decode_node {

absl::StatusOr<std::unique_ptr<engine::Sequence>> DecodeService::MakeSequence(
    const grpc::CallbackServerContext& context, const v1::DecodeRequest& request) {
  BATON_RETURN_IF_ERROR(server::RequireRole(context, {"router"}));
  if (draining_) return absl::UnavailableError("decode node is draining");
  if (!request.prefill_here()) {
    BATON_RETURN_IF_ERROR(kvcache::CheckConvertible(parts_.layout, request.layout()));
  }
  BATON_ASSIGN_OR_RETURN(std::unique_ptr<engine::Sequence> sequence,
                         engine::MakeSequence(request.prompt(), request.first_index(),
                                              request.sampling(), request.stop(), parts_.config));
  BATON_RETURN_IF_ERROR(engine::AttachGrammar(parts_.grammars, request.sampling(), sequence.get()));
  if (request.prefill_here()) {
    BATON_ASSIGN_OR_RETURN(
        sequence->reading,
        engine::ReadingFromProto(request.sampling(),
                                 request.has_embed() ? &request.embed() : nullptr));
    sequence->first_token_only = request.has_embed();
  } else if (request.has_embed()) {
    return absl::InvalidArgumentError("embed: only with prefill_here");
  }
  sequence->speculate =
      request.sampling().has_speculate() ? request.sampling().speculate() : parts_.speculate;
  // A preempted sequence holds blocks of nobody else: while one waits, no new one may take its
  // room.
  if (parts_.engine.stats().preempted > 0) {
    return absl::ResourceExhaustedError("kvcache: preempted sequences wait for blocks");
  }
  // What a hand-over leases in advance a prompt that is computed here takes when it starts; it does
  // not even queue where there is no room now.
  const int32_t needed =
      kvcache::BlocksFor(sequence->length(), parts_.layout.geometry.block_tokens);
  const int32_t available = parts_.pool.stats().available();
  if (request.prefill_here() && needed > available) {
    return absl::ResourceExhaustedError(
        absl::StrCat("kvcache: need ", needed, " blocks, ", available, " free"));
  }
  sequence->cache_salt = request.cache_salt();
  sequence->id = next_id_++;
  return sequence;
}

grpc::ServerWriteReactor<v1::DecodeEvent>* DecodeService::Generate(
    grpc::CallbackServerContext* context, const v1::DecodeRequest* request) {
  absl::StatusOr<std::unique_ptr<engine::Sequence>> sequence = MakeSequence(*context, *request);
  absl::Status refused = sequence.status();
  std::vector<kvcache::BlockKey> keys;
  if (refused.ok() && parts_.cache != nullptr && !(*sequence)->reading.needs_every_row()) {
    engine::Sequence& s = **sequence;
    parts_.cache->ExtendKeys(s.tokens, s.cache_salt, &s.block_keys);
    keys = s.block_keys;
    keys.resize(kvcache::ReusableBlocks(s.length(), parts_.layout.geometry.block_tokens));
  }
  const auto call = std::make_shared<DecodeCall>(
      DecodeCall::Node{parts_.engine, parts_.intake, parts_.cache, parts_.clock},
      request->ticket().id(), sequence.ok() ? *std::move(sequence) : nullptr, active_);
  grpc::ServerWriteReactor<v1::DecodeEvent>* reactor = call->Attach();
  if (!refused.ok()) {
    call->Refuse(std::move(refused));
  } else if (request->prefill_here()) {
    parts_.tier_reader.BringBack(std::move(keys), [call] { call->PrefillHere(); });
  } else {
    parts_.tier_reader.BringBack(
        std::move(keys),
        [call, ticket = request->ticket(), size = request->layout().block_tokens(),
         timeout_ms = parts_.lease_timeout_ms] { call->Lease(ticket, size, timeout_ms); });
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
