// SequenceFlow: where an attempt runs, and the calls that it begins with.
#include <algorithm>
#include <utility>

#include "router/candidates.h"
#include "router/sequence_flow.h"

namespace baton::router {
namespace {

std::string MintTicketId(Rng& rng) {
  std::string id;
  for (int word = 0; word < 2; ++word) {
    const uint64_t bits = rng.Next();
    for (int byte = 0; byte < 8; ++byte) id.push_back(static_cast<char>(bits >> (8 * byte)));
  }
  return id;
}

}  // namespace

std::vector<int32_t> SequenceFlow::PromptSoFar() const {
  std::vector<int32_t> tokens = *spec_.prompt;
  tokens.insert(tokens.end(), output_.begin(), output_.begin() + resumed_);
  return tokens;
}

void SequenceFlow::Attempt() {
  resumed_ = static_cast<int32_t>(output_.size());
  early_.clear();
  decode_finished_.reset();
  prefilled_here_seconds_ = -1;
  const std::shared_ptr<const ClusterSnapshot> cluster = router_.cluster.snapshot();
  if (!HasBudget(*cluster)) {
    if (!WaitForNodes(*cluster)) Fail(*last_error_);
    return;
  }
  if (!Place(*cluster)) return;
  Note("running");
  if (decode_node_) {
    StartDecode();
  } else {
    StartPrefill();
  }
}

Placement SequenceFlow::WhatToPlace() const {
  Placement placement;
  placement.prompt_tokens = static_cast<int64_t>(spec_.prompt->size()) + resumed_;
  placement.decodes = TokensLeft() > 1;
  placement.ttft_slo_s = spec_.ttft_slo_s;
  placement.tpot_slo_s = spec_.tpot_slo_s;
  placement.turn = router_.turn.fetch_add(1);
  return placement;
}

Decision SequenceFlow::DecideAroundCuts(const ClusterSnapshot& cluster, const Placement& placement,
                                        Candidates* candidates) const {
  Decision decision = Decide(router_.policy, placement, candidates->prefill, candidates->decode);
  while (decision.prefill && decision.decode &&
         cluster.prefill[*decision.prefill]->client->HandOverPaused(
             cluster.decode[*decision.decode]->hello.incarnation(), placed_at_)) {
    candidates->prefill[*decision.prefill].available = false;
    const Decision other =
        Decide(router_.policy, placement, candidates->prefill, candidates->decode);
    if (!other.prefill && !IsLocal(other.reason)) break;
    decision = other;
  }
  return decision;
}

std::vector<PrefixMatch> SequenceFlow::Matches(const ClusterSnapshot& cluster,
                                               absl::Span<const int32_t> tokens) const {
  // Where every token is read, nodes compute every token.
  if (SamplingFor(/*reads=*/true).has_prompt_logprobs()) return {};
  if (spec_.embed && spec_.embed->pooling() == v1::POOLING_MEAN) return {};
  return FindPrefixes(cluster, router_.caches, tokens, spec_.cache_salt);
}

bool SequenceFlow::Place(const ClusterSnapshot& cluster) {
  ReleasePrefillWork();
  const std::vector<int32_t> tokens = PromptSoFar();
  const std::vector<PrefixMatch> matches = Matches(cluster, tokens);
  placed_at_ = router_.clock.Now();
  Candidates candidates =
      CandidatesFor(cluster, matches, static_cast<int64_t>(tokens.size()), tried_, placed_at_);
  Placement placement = WhatToPlace();
  if (!cluster.decode.empty()) {
    placement.kv_bytes_per_token = KvBytesPerToken(cluster.decode.front()->hello.layout());
  }
  const Decision decision = DecideAroundCuts(cluster, placement, &candidates);
  prefill_node_ = decision.prefill ? cluster.prefill[*decision.prefill] : nullptr;
  decode_node_ = decision.decode ? cluster.decode[*decision.decode] : nullptr;
  const bool needs_decode = placement.decodes || IsLocal(decision.reason);
  if (needs_decode && !decode_node_) {
    FailForLackOfNodes(cluster, "decode node");
    return false;
  }
  if (!IsLocal(decision.reason) && !prefill_node_) {
    FailForLackOfNodes(cluster, "prefill node");
    return false;
  }
  if (prefill_node_) {
    const PrefillCandidate& candidate = candidates.prefill[*decision.prefill];
    tokens_ahead_ = candidate.queued_tokens;
    tokens_to_compute_ = placement.prompt_tokens - candidate.cached_tokens;
    FindPeer(cluster, matches);
  } else {
    const DecodeCandidate& candidate = candidates.decode[*decision.decode];
    tokens_ahead_ = candidate.queued_tokens;
    tokens_to_compute_ = placement.prompt_tokens - candidate.cached_tokens;
  }
  if (decode_node_) {
    // What is cached there takes no room.
    const DecodeCandidate& candidate = candidates.decode[*decision.decode];
    const int64_t missing = placement.prompt_tokens - candidate.cached_tokens;
    decode_node_->client->sent().blocks_since_report.fetch_add((missing + candidate.block_tokens) /
                                                               candidate.block_tokens);
  }
  estimated_ttft_s_ = decision.ttft_s;
  estimated_tpot_s_ = decision.tpot_s;
  CountPrefillWork(prefill_node_ ? *prefill_node_ : *decode_node_);
  router_.metrics.placements[static_cast<size_t>(decision.reason)].Add();
  timings_.placement = std::string(PlaceReasonName(decision.reason));
  if (output_.empty()) timings_.estimated_first_token_ms = 1e3 * decision.ttft_s;
  return true;
}

bool SequenceFlow::PlacePrefillAgain(const ClusterSnapshot& cluster) {
  const std::vector<int32_t> tokens = PromptSoFar();
  placed_at_ = router_.clock.Now();
  const std::vector<PrefixMatch> matches = Matches(cluster, tokens);
  const Candidates candidates =
      CandidatesFor(cluster, matches, static_cast<int64_t>(tokens.size()), tried_, placed_at_);
  const std::optional<size_t> pick =
      PickPrefill(router_.policy, WhatToPlace(), candidates.prefill, nullptr);
  if (!pick) return false;
  prefill_node_ = cluster.prefill[*pick];
  const PrefillCandidate& candidate = candidates.prefill[*pick];
  tokens_ahead_ = candidate.queued_tokens;
  tokens_to_compute_ = static_cast<int64_t>(tokens.size()) - candidate.cached_tokens;
  FindPeer(cluster, matches);
  CountPrefillWork(*prefill_node_);
  estimated_ttft_s_ = -1;  // of a call that follows a failed one
  return true;
}

void SequenceFlow::FindPeer(const ClusterSnapshot& cluster, absl::Span<const PrefixMatch> matches) {
  const int64_t prompt = static_cast<int64_t>(spec_.prompt->size()) + resumed_;
  const PrefixHolder holder = LongestHolder(cluster, matches, prompt, *prefill_node_);
  peer_ = holder.node;
  peer_tokens_ = holder.tokens;
}

void SequenceFlow::CountPrefillWork(const Node& node) {
  prefill_tokens_sent_ = std::max<int64_t>(tokens_to_compute_, 1);
  SentWork& sent = node.client->sent();
  sent.tokens_outstanding.fetch_add(prefill_tokens_sent_);
  sent.prompts_outstanding.fetch_add(1);
  sent.tokens_since_report.fetch_add(prefill_tokens_sent_);
}

void SequenceFlow::StartDecode() {
  v1::DecodeRequest request;
  request.set_request_id(spec_.request_id);
  const std::vector<int32_t> prompt = PromptSoFar();
  request.mutable_prompt()->Add(prompt.begin(), prompt.end());
  request.set_first_index(resumed_);
  request.set_cache_salt(spec_.cache_salt);
  *request.mutable_sampling() = SamplingFor(/*reads=*/!prefill_node_);
  *request.mutable_stop() = spec_.stop;
  if (spec_.embed) *request.mutable_embed() = *spec_.embed;
  if (prefill_node_) {
    ticket_.set_id(MintTicketId(router_.rng));
    ticket_.set_epoch(1);
    *request.mutable_ticket() = ticket_;
    *request.mutable_layout() = prefill_node_->hello.layout();
  } else {
    request.set_prefill_here(true);
    router_.metrics.dispatch.Observe(absl::ToDoubleSeconds(router_.clock.Now() - spec_.arrived));
  }
  SentWork& sent = decode_node_->client->sent();
  sent.sequences_outstanding.fetch_add(1);
  sent.sequences_since_report.fetch_add(1);
  decode_counted_ = true;
  auto self = shared_from_this();
  decode_ = decode_node_->client->Generate(
      request, {Remaining(), spec_.traceparent}, executor_,
      [self](v1::DecodeEvent event, absl::Time received) {
        self->OnDecodeEvent(std::move(event), received);
      },
      [self](const absl::Status& status) { self->OnDecodeEnd(status); });
}

void SequenceFlow::StartPrefill() {
  v1::PrefillRequest request;
  request.set_request_id(spec_.request_id);
  const std::vector<int32_t> prompt = PromptSoFar();
  request.mutable_prompt()->Add(prompt.begin(), prompt.end());
  request.set_first_index(resumed_);
  request.set_cache_salt(spec_.cache_salt);
  *request.mutable_sampling() = SamplingFor(/*reads=*/true);
  *request.mutable_stop() = spec_.stop;
  if (spec_.embed) *request.mutable_embed() = *spec_.embed;
  if (TokensLeft() > 1) {
    v1::HandOver* hand_over = request.mutable_hand_over();
    hand_over->set_decode_address(decode_node_->hello.address());
    hand_over->set_decode_incarnation(decode_node_->hello.incarnation());
    *hand_over->mutable_ticket() = ticket_;
    hand_over->set_first_missing_block(leased_.first_missing_block());
  }
  if (peer_) {
    v1::PeerPrefix* peer = request.mutable_peer_prefix();
    peer->set_address(peer_->hello.address());
    peer->set_incarnation(peer_->hello.incarnation());
    peer->set_blocks(
        static_cast<int32_t>(peer_tokens_ / prefill_node_->hello.layout().block_tokens()));
  }
  Note("running");
  auto self = shared_from_this();
  prefill_ = prefill_node_->client->Run(
      request, {Remaining(), spec_.traceparent}, executor_,
      [self](v1::PrefillEvent event, absl::Time received) {
        self->OnPrefillEvent(std::move(event), received);
      },
      [self](const absl::Status& status) { self->OnPrefillEnd(status); });
  router_.metrics.dispatch.Observe(absl::ToDoubleSeconds(router_.clock.Now() - spec_.arrived));
}

}  // namespace baton::router
