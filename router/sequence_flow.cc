// The attempts: what becomes of calls, failures, the end. Where an attempt runs is in
// sequence_placement.cc, whether there is another one in sequence_retry.cc, what happens to tokens
// in sequence_tokens.cc.
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
  timings_.timeline = spec_.timeline;
  router_.retry_budget.SequenceStarted();
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

void SequenceFlow::DecodeFailed(const absl::Status& status) {
  spdlog::warn("request {}: decode on {} failed: {}", spec_.request_id,
               decode_node_->hello.node_id(), status.ToString());
  last_error_ = FromNodeStatus(status, "decode node");
  tried_.insert(decode_node_->client);
  if (status.code() == absl::StatusCode::kUnavailable) {
    decode_node_->client->CallFailed(router_.clock.Now());
  }
  DropDecode();
  DropPrefill();
  if (!MayRetry(status, decode_node_->client)) return Fail(*last_error_);
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
  NotePrefillFailure(status);
  if (!MayRetry(status, prefill_node_->client)) return Fail(*last_error_);
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
  if (!HasBudget(*cluster)) {
    DropDecode();
    return Attempt();
  }
  if (!PlacePrefillAgain(*cluster)) {
    DropDecode();
    return FailForLackOfNodes(*cluster, "prefill node");
  }
  ticket_.set_epoch(ticket_.epoch() + 1);
  StartPrefill();
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
  const Phase waited_for = output_.empty() ? Phase::kQueuePrefill : Phase::kDecode;
  timings_.timeline.Add(end.error ? waited_for : Phase::kStream, router_.clock.Now());
  Note(end.error ? "error" : end.finish == v1::FINISH_REASON_LENGTH ? "length" : "stop");
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
    Note("cancelled");
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
