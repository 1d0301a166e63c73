#include "prefill_node/prefill_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "engine/wire/request_params.h"
#include "server/tls.h"

namespace baton::prefill_node {
namespace {

constexpr size_t kTicketBytes = 16;

absl::Status CheckHandOver(const v1::HandOver& hand_over, int64_t prompt_tokens,
                           int32_t block_tokens) {
  if (hand_over.decode_address().empty()) {
    return absl::InvalidArgumentError("hand_over.decode_address is empty");
  }
  if (hand_over.ticket().id().size() != kTicketBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "hand_over.ticket has ", hand_over.ticket().id().size(), " bytes, needs ", kTicketBytes));
  }
  const int32_t blocks = kvcache::BlocksFor(prompt_tokens, block_tokens);
  if (hand_over.first_missing_block() < 0 || hand_over.first_missing_block() > blocks) {
    return absl::InvalidArgumentError(absl::StrCat("hand_over.first_missing_block is ",
                                                   hand_over.first_missing_block(), ", needs 0 to ",
                                                   blocks));
  }
  return absl::OkStatus();
}

// What the caller's deadline leaves: the work that is done for it ends then, too. A caller without
// one gets a day.
absl::Duration TimeLeft(const grpc::ServerContextBase& context) {
  return std::min(absl::FromChrono(context.deadline()) - absl::Now(), absl::Hours(24));
}

}  // namespace

grpc::ServerWriteReactor<v1::PrefillEvent>* PrefillService::Run(
    grpc::CallbackServerContext* context, const v1::PrefillRequest* request) {
  const auto call = std::make_shared<PrefillCall>(parts_.engine, parts_.clock, counters_);
  grpc::ServerWriteReactor<v1::PrefillEvent>* reactor = call->Attach();
  const auto begin = [&]() -> absl::Status {
    BATON_RETURN_IF_ERROR(server::RequireRole(*context, {"router"}));
    if (draining_) return absl::UnavailableError("prefill node is draining");
    BATON_ASSIGN_OR_RETURN(
        std::unique_ptr<engine::Sequence> sequence,
        engine::MakeSequence(request->prompt(), request->first_index(), request->sampling(),
                             request->stop(), parts_.config));
    BATON_RETURN_IF_ERROR(
        engine::AttachGrammar(parts_.grammars, request->sampling(), sequence.get()));
    std::unique_ptr<KvHandoff> handoff;
    if (request->has_hand_over()) {
      const v1::HandOver& hand_over = request->hand_over();
      BATON_RETURN_IF_ERROR(
          CheckHandOver(hand_over, sequence->prompt_tokens, parts_.store.geometry().block_tokens));
      handoff = std::make_unique<KvHandoff>(
          parts_.store, parts_.sender,
          kvcache::KvPushTarget{.address = hand_over.decode_address(),
                                .decode_incarnation = hand_over.decode_incarnation(),
                                .ticket = hand_over.ticket(),
                                .timeout = TimeLeft(*context)},
          hand_over.first_missing_block());
    }
    sequence->cache_salt = request->cache_salt();
    sequence->id = next_id_++;
    sequence->first_token_only = true;
    call->Submit(std::move(sequence), std::move(handoff));
    return absl::OkStatus();
  };
  absl::Status status = begin();
  if (!status.ok()) call->Refuse(std::move(status));
  return reactor;
}

}  // namespace baton::prefill_node
