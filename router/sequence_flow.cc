// The attempts: what becomes of calls, failures, the end. Where an attempt runs is in
// sequence_placement.cc, what happens to tokens in sequence_tokens.cc.
#include "router/sequence_flow.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace baton::router {

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
  if (!PlacePrefillAgain(*cluster)) {
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
  const std::string missing = cluster.Missing(router_.NeedsPrefillNodes());
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
  const bool handed_over = static_cast<int32_t>(output_.size()) > resumed_ + 1;
  if (!natural || (!handed_over && prefill_node_)) DropDecode();
  ReleaseLease();
  ReleasePrefillWork();
  end.choice = spec_.choice;
  end.output_tokens = static_cast<int32_t>(output_.size());
  end.cached_tokens = cached_tokens_;
  end.retries = retries_;
  end.first_token = first_token_;
  if (prefill_node_) end.prefill_node = prefill_node_->hello.node_id();
  if (decode_node_) end.decode_node = decode_node_->hello.node_id();
  if (!end.error) ObserveEnd();
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
  ReleasePrefillWork();
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
  const std::shared_ptr<const Node>& node = prefill_node_ ? prefill_node_ : decode_node_;
  node->client->sent().prompts_outstanding.fetch_sub(1);
  node->client->sent().tokens_outstanding.fetch_sub(std::exchange(prefill_tokens_sent_, 0));
}

}  // namespace baton::router
