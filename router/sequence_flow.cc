// The attempts: nodes, calls, failures. What happens to tokens is in sequence_tokens.cc.
#include "router/sequence_flow.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "router/scheduler.h"

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

PrefillCandidate PrefillCandidateOf(const Node& node, bool tried) {
  const SentWork& sent = node.client->sent();
  PrefillCandidate candidate;
  candidate.queued_tokens =
      std::max(sent.tokens_outstanding.load(),
               node.load.prompt_tokens_queued() + sent.tokens_since_report.load());
  candidate.tokens_per_s = node.load.prefill_tokens_per_s();
  candidate.context_length = node.hello.context_length();
  candidate.available = !tried && !node.load.draining();
  return candidate;
}

DecodeCandidate DecodeCandidateOf(const Node& node, bool tried) {
  const SentWork& sent = node.client->sent();
  const v1::NodeLoad& load = node.load;
  DecodeCandidate candidate;
  candidate.blocks_free = load.blocks_free() - sent.blocks_since_report.load();
  candidate.blocks_total = load.blocks_total();
  candidate.sequences = std::max(
      sent.sequences_outstanding.load(),
      load.sequences_running() + load.sequences_waiting() + sent.sequences_since_report.load());
  candidate.block_tokens = node.hello.layout().block_tokens();
  candidate.context_length = node.hello.context_length();
  candidate.available = !tried && !load.draining();
  return candidate;
}

}  // namespace

SequenceFlow::SequenceFlow(RouterContext& router, Executor executor, SequenceSpec spec,
                           SequenceListener* listener)
    : router_(router),
      executor_(std::move(executor)),
      spec_(std::move(spec)),
      listener_(listener),
      text_(router.tokenizer, {spec_.stop_strings, spec_.include_stop}, spec_.skip_special_tokens,
            spec_.stop.min_tokens()),
      retry_timer_(executor_) {
  router_.metrics.waiting.fetch_add(1);
}

SequenceFlow::~SequenceFlow() { Cancel(); }

absl::Duration SequenceFlow::Remaining() const {
  return std::max(spec_.deadline - router_.clock.Now(), absl::Milliseconds(1));
}

std::vector<int32_t> SequenceFlow::PromptSoFar() const {
  std::vector<int32_t> tokens = *spec_.prompt;
  tokens.insert(tokens.end(), output_.begin(), output_.begin() + resumed_);
  return tokens;
}

void SequenceFlow::Attempt() {
  resumed_ = static_cast<int32_t>(output_.size());
  early_.clear();
  decode_finished_.reset();
  const std::shared_ptr<const ClusterSnapshot> cluster = router_.cluster.snapshot();
  const bool decodes = TokensLeft() > 1;
  if (decodes && !PickDecodeNode(*cluster)) return FailForLackOfNodes(*cluster, "decode node");
  if (!PickPrefillNode(*cluster)) return FailForLackOfNodes(*cluster, "prefill node");
  if (decodes) {
    StartDecode();
  } else {
    StartPrefill();
  }
}

bool SequenceFlow::PickDecodeNode(const ClusterSnapshot& cluster) {
  std::vector<DecodeCandidate> candidates;
  for (const auto& node : cluster.decode) {
    candidates.push_back(DecodeCandidateOf(*node, tried_.count(node->client) > 0));
  }
  const auto pick = PickDecode(candidates, static_cast<int64_t>(spec_.prompt->size()) + resumed_,
                               router_.turn.fetch_add(1));
  if (pick) decode_node_ = cluster.decode[*pick];
  return pick.has_value();
}

bool SequenceFlow::PickPrefillNode(const ClusterSnapshot& cluster) {
  std::vector<PrefillCandidate> candidates;
  for (const auto& node : cluster.prefill) {
    candidates.push_back(PrefillCandidateOf(*node, tried_.count(node->client) > 0));
  }
  const auto pick = PickPrefill(candidates, static_cast<int64_t>(spec_.prompt->size()) + resumed_,
                                router_.turn.fetch_add(1));
  if (pick) prefill_node_ = cluster.prefill[*pick];
  return pick.has_value();
}

void SequenceFlow::StartDecode() {
  ticket_.set_id(MintTicketId(router_.rng));
  ticket_.set_epoch(1);
  v1::DecodeRequest request;
  request.set_request_id(spec_.request_id);
  const std::vector<int32_t> prompt = PromptSoFar();
  request.mutable_prompt()->Add(prompt.begin(), prompt.end());
  request.set_first_index(resumed_);
  *request.mutable_sampling() = spec_.sampling;
  *request.mutable_stop() = spec_.stop;
  *request.mutable_ticket() = ticket_;
  *request.mutable_layout() = prefill_node_->hello.layout();
  SentWork& sent = decode_node_->client->sent();
  sent.sequences_outstanding.fetch_add(1);
  sent.sequences_since_report.fetch_add(1);
  const int64_t block_tokens = decode_node_->hello.layout().block_tokens();
  sent.blocks_since_report.fetch_add((static_cast<int64_t>(prompt.size()) + block_tokens) /
                                     block_tokens);
  decode_counted_ = true;
  auto self = shared_from_this();
  decode_ = decode_node_->client->Generate(
      request, Remaining(), executor_,
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
  *request.mutable_sampling() = spec_.sampling;
  *request.mutable_stop() = spec_.stop;
  if (TokensLeft() > 1) {
    v1::HandOver* hand_over = request.mutable_hand_over();
    hand_over->set_decode_address(decode_node_->hello.address());
    hand_over->set_decode_incarnation(decode_node_->hello.incarnation());
    *hand_over->mutable_ticket() = ticket_;
    hand_over->set_first_missing_block(leased_.first_missing_block());
  }
  prefill_tokens_sent_ = static_cast<int64_t>(prompt.size());
  SentWork& sent = prefill_node_->client->sent();
  sent.tokens_outstanding.fetch_add(prefill_tokens_sent_);
  sent.tokens_since_report.fetch_add(prefill_tokens_sent_);
  auto self = shared_from_this();
  prefill_ = prefill_node_->client->Run(
      request, Remaining(), executor_,
      [self](v1::PrefillEvent event, absl::Time received) {
        self->OnPrefillEvent(std::move(event), received);
      },
      [self](const absl::Status& status) { self->OnPrefillEnd(status); });
  router_.metrics.dispatch.Observe(absl::ToDoubleSeconds(router_.clock.Now() - spec_.arrived));
}

void SequenceFlow::OnDecodeEnd(const absl::Status& status) {
  decode_.reset();
  DropDecode();
  if (ended_) return;
  if (!status.ok()) return DecodeFailed(status);
  // An orderly end comes after DecodeFinished; then only the first token can still be on its way.
  if (!decode_finished_) DecodeFailed(absl::InternalError("the stream ended without a result"));
}

void SequenceFlow::OnPrefillEnd(const absl::Status& status) {
  prefill_.reset();
  ReleasePrefillWork();
  if (ended_) return;
  if (!status.ok()) return PrefillFailed(status);
  ReleaseLease();
  if (static_cast<int32_t>(output_.size()) == resumed_) {
    PrefillFailed(absl::InternalError("the stream ended without a token"));
  }
}

bool SequenceFlow::MayRetry(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    saw_full_ = true;
    return true;
  }
  if (status.code() == absl::StatusCode::kInvalidArgument) return false;
  if (router_.clock.Now() >= spec_.deadline) return false;
  if (output_.size() > output_at_failure_) {
    failures_in_a_row_ = 0;
    waiting_since_ = absl::InfiniteFuture();
  }
  output_at_failure_ = output_.size();
  ++retries_;
  // Who waits for nodes is bounded by time.
  return waiting_since_ != absl::InfiniteFuture() ||
         ++failures_in_a_row_ <= router_.config.retries();
}

void SequenceFlow::DecodeFailed(const absl::Status& status) {
  spdlog::warn("request {}: decode on {} failed: {}", spec_.request_id,
               decode_node_->hello.node_id(), status.ToString());
  last_error_ = FromNodeStatus(status, "decode node");
  tried_.insert(decode_node_->client);
  DropDecode();
  DropPrefill();
  if (!MayRetry(status)) return Fail(*last_error_);
  router_.metrics.decode_retries.Add();
  Attempt();
}

void SequenceFlow::PrefillFailed(const absl::Status& status) {
  // Once the decode node streams, it has all that it needs from the prefill node.
  if (static_cast<int32_t>(output_.size()) > resumed_ + 1 || decode_finished_) return;
  spdlog::warn("request {}: prefill on {} failed: {}", spec_.request_id,
               prefill_node_->hello.node_id(), status.ToString());
  last_error_ = FromNodeStatus(status, "prefill node");
  DropPrefill();
  const bool lease_lost = status.code() == absl::StatusCode::kNotFound ||
                          status.code() == absl::StatusCode::kFailedPrecondition;
  const bool decodes = TokensLeft() > 1;
  if (!MayRetry(status)) return Fail(*last_error_);
  router_.metrics.prefill_retries.Add();
  if (decodes && lease_lost) {
    // A lease that ran out may be had anew; a node that restarted or differs is another matter.
    if (status.code() == absl::StatusCode::kFailedPrecondition) tried_.insert(decode_node_->client);
    DropDecode();
    return Attempt();
  }
  tried_.insert(prefill_node_->client);
  if (!decodes) return Attempt();
  // The lease stays; the new epoch shuts the frames of the old prefill node out. Tokens that come
  // twice are dropped by their index.
  const std::shared_ptr<const ClusterSnapshot> cluster = router_.cluster.snapshot();
  if (!PickPrefillNode(*cluster)) {
    DropDecode();
    return FailForLackOfNodes(*cluster, "prefill node");
  }
  ticket_.set_epoch(ticket_.epoch() + 1);
  StartPrefill();
}

bool SequenceFlow::WaitForNodes(const ClusterSnapshot& cluster) {
  // Who has neither begun nor lost a node learns at once that there is none.
  const bool lost_a_node = last_error_.has_value() && (!saw_full_ || !output_.empty());
  if (!lost_a_node || cluster.ended) return false;
  const absl::Time now = router_.clock.Now();
  waiting_since_ = std::min(waiting_since_, now);
  const absl::Duration waited = now - waiting_since_;
  const absl::Duration limit = absl::Milliseconds(router_.config.failover_wait_ms());
  if (waited >= limit || now >= spec_.deadline) return false;
  tried_.clear();  // who failed once may do it now
  // Ever longer pauses, so that a node that keeps failing is not asked a hundred times.
  const absl::Duration pause = std::clamp(waited / 2, absl::Milliseconds(50), absl::Seconds(1));
  retry_timer_.expires_after(absl::ToChronoMilliseconds(pause));
  retry_timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error && !self->ended_) self->Attempt();
  });
  return true;
}

void SequenceFlow::FailForLackOfNodes(const ClusterSnapshot& cluster, absl::string_view role) {
  if (WaitForNodes(cluster)) return;
  // Copies: what is there already says more than "nobody is left".
  if (saw_full_ && output_.empty())
    return Fail(Full(absl::StrCat("Every ", role, " is full.")), true);
  if (last_error_) return Fail(*last_error_);
  const std::string missing = cluster.Missing();
  if (!missing.empty()) return Fail(NotReady(missing));
  Fail(InvalidParam("prompt",
                    absl::StrCat("The prompt has ", spec_.prompt->size(), " tokens; no ", role,
                                 " of this cluster has room for as many."),
                    "context_length_exceeded"));
}

void SequenceFlow::Fail(ApiError error, bool full) {
  SequenceEnd end;
  end.retry_when_others_end = full && output_.empty();
  end.error = std::move(error);
  End(std::move(end));
}

void SequenceFlow::Finish(v1::FinishReason reason) {
  SequenceEnd end;
  end.finish = reason;
  End(std::move(end));
}

void SequenceFlow::End(SequenceEnd end) {
  if (ended_) return;
  ended_ = true;
  retry_timer_.cancel();
  (output_.empty() ? router_.metrics.waiting : router_.metrics.running).fetch_sub(1);
  // What the nodes finish by themselves is left to them, for their last measurements; the rest is
  // cancelled.
  const bool natural = !end.error && !text_.stopped();
  if (!natural) DropPrefill();
  if (!natural || static_cast<int32_t>(output_.size()) <= resumed_ + 1) DropDecode();
  ReleaseLease();
  ReleasePrefillWork();
  end.choice = spec_.choice;
  end.output_tokens = static_cast<int32_t>(output_.size());
  end.cached_tokens = cached_tokens_;
  end.retries = retries_;
  end.first_token = first_token_;
  if (prefill_node_) end.prefill_node = prefill_node_->hello.node_id();
  if (decode_node_) end.decode_node = decode_node_->hello.node_id();
  end.timings = timings_;
  end.timings.prefill_node = end.prefill_node;
  end.timings.decode_node = end.decode_node;
  if (!output_.empty()) {
    end.timings.first_token_ms = absl::ToDoubleMilliseconds(first_token_);
    end.timings.decode_ms = absl::ToDoubleMilliseconds(last_token_ - first_token_at_);
  }
  SequenceListener* listener = std::exchange(listener_, nullptr);
  if (listener != nullptr) listener->OnSequenceEnd(end);
}

void SequenceFlow::Cancel() {
  listener_ = nullptr;
  if (!ended_) {
    ended_ = true;
    (output_.empty() ? router_.metrics.waiting : router_.metrics.running).fetch_sub(1);
  }
  retry_timer_.cancel();
  DropDecode();
  DropPrefill();
}

void SequenceFlow::DropDecode() {
  ReleaseLease();
  if (decode_counted_) {
    decode_node_->client->sent().sequences_outstanding.fetch_sub(1);
    decode_counted_ = false;
  }
  if (const auto call = std::exchange(decode_, nullptr)) call->Abandon();
}

void SequenceFlow::DropPrefill() {
  ReleasePrefillWork();
  if (const auto call = std::exchange(prefill_, nullptr)) call->Abandon();
}

void SequenceFlow::ReleaseLease() {
  if (!lease_pending_) return;
  lease_pending_ = false;
  router_.leases.Remove(decode_node_->client, ticket_.id());
}

void SequenceFlow::ReleasePrefillWork() {
  if (prefill_tokens_sent_ == 0) return;
  prefill_node_->client->sent().tokens_outstanding.fetch_sub(
      std::exchange(prefill_tokens_sent_, 0));
}

}  // namespace baton::router
