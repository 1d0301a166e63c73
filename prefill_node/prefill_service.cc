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

FetchPlan PrefillService::PlanFor(const Parts& parts, const engine::Sequence& sequence,
                                  const v1::PeerPrefix& peer) {
  if (parts.fetcher == nullptr || peer.address().empty()) return {};
  const device::KvGeometry& geometry = parts.store.geometry();
  const int32_t reusable = kvcache::ReusableBlocks(sequence.length(), geometry.block_tokens);
  const auto keys = absl::MakeConstSpan(sequence.block_keys).first(reusable);
  return PlanFetch({.blocks_here = parts.cache->Peek(keys, 0),
                    .blocks_there = peer.blocks(),
                    .blocks_reusable = reusable,
                    .block_tokens = geometry.block_tokens,
                    .block_bytes = geometry.BlockBytesTotal(),
                    .bytes_per_s = parts.fetcher->BytesPerSecond(peer.address()),
                    .tokens_per_s = parts.engine.stats().tokens_per_s});
}

void PrefillService::Begin(const Parts& parts, std::shared_ptr<CallCounters> counters,
                           std::shared_ptr<Waiting> waiting) {
  // Where every token is to be read, every token is computed.
  if (parts.cache == nullptr || waiting->sequence->reading.needs_every_row()) {
    waiting->Submit();
    return;
  }
  engine::Sequence& sequence = *waiting->sequence;
  sequence.submitted = parts.clock.Now();
  parts.cache->ExtendKeys(sequence.tokens, sequence.cache_salt, &sequence.block_keys);
  std::vector<kvcache::BlockKey> keys = sequence.block_keys;
  keys.resize(kvcache::ReusableBlocks(sequence.length(), parts.store.geometry().block_tokens));
  parts.tier_reader->BringBack(
      std::move(keys), [parts, counters, waiting] { FetchAndSubmit(parts, counters, waiting); });
}

void PrefillService::FetchAndSubmit(const Parts& parts, std::shared_ptr<CallCounters> counters,
                                    std::shared_ptr<Waiting> waiting) {
  const FetchPlan plan = PlanFor(parts, *waiting->sequence, waiting->peer);
  if (plan.begin >= plan.end) {
    waiting->Submit();
    return;
  }
  kvcache::KvFetcher::Want want{.address = waiting->peer.address(),
                                .incarnation = waiting->peer.incarnation(),
                                .tokens = waiting->sequence->tokens,
                                .cache_salt = waiting->sequence->cache_salt,
                                .begin = plan.begin,
                                .end = plan.end,
                                .timeout = plan.timeout};
  const int32_t block_tokens = parts.store.geometry().block_tokens;
  // What the peer did not give is computed: a failed fetch fails no request.
  parts.fetcher->Fetch(std::move(want),
                       [waiting, block_tokens, counters](const kvcache::FetchResult& result) {
                         counters->tokens_fetched += int64_t{result.blocks} * block_tokens;
                         waiting->call->Fetched(result.blocks * block_tokens, result.took);
                         waiting->Submit();
                       });
}

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
    BATON_ASSIGN_OR_RETURN(
        sequence->reading,
        engine::ReadingFromProto(request->sampling(),
                                 request->has_embed() ? &request->embed() : nullptr));
    if (request->has_embed() && request->has_hand_over()) {
      return absl::InvalidArgumentError("embed: nothing is handed over");
    }
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
    Begin(parts_, counters_,
          std::make_shared<Waiting>(
              Waiting{call, std::move(sequence), std::move(handoff), request->peer_prefix()}));
    return absl::OkStatus();
  };
  absl::Status status = begin();
  if (!status.ok()) call->Refuse(std::move(status));
  return reactor;
}

}  // namespace baton::prefill_node
