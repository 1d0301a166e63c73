// SequenceFlow: what the nodes send, put in order and turned into text.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "router/sequence_flow.h"

namespace baton::router {

void SequenceFlow::OnDecodeEvent(v1::DecodeEvent event, absl::Time received) {
  const auto self = shared_from_this();
  if (ended_) {
    if (event.has_finished()) {
      router_.metrics.decode.Observe(event.finished().decode_seconds());
    } else {
      DropDecode();  // the node does not see the end that was delivered
    }
    return;
  }
  switch (event.kind_case()) {
    case v1::DecodeEvent::kLeased:
      decode_node_->client->CallWorked();
      leased_ = event.leased();
      lease_pending_ = true;
      router_.leases.Add(decode_node_->client, ticket_.id(),
                         absl::Milliseconds(leased_.lease_timeout_ms()));
      if (!prefill_ && static_cast<int32_t>(output_.size()) == resumed_) StartPrefill();
      break;
    case v1::DecodeEvent::kTokens:
      ReleaseLease();
      if (timings_.decode_wait_ms < 0)
        timings_.decode_wait_ms = 1e3 * event.tokens().wait_seconds();
      AttributeTokens(event.tokens(), received);
      for (const v1::Token& token : event.tokens().tokens()) {
        if (!ended_) Accept(token, received);
      }
      break;
    case v1::DecodeEvent::kFinished:
      ReleaseLease();
      router_.metrics.decode.Observe(event.finished().decode_seconds());
      decode_finished_ = event.finished();
      if (static_cast<int32_t>(output_.size()) >= decode_finished_->output_tokens()) {
        FinishAsNodeSays(decode_finished_->finish_reason());
      }
      break;
    case v1::DecodeEvent::kPrefilled:
      decode_node_->client->CallWorked();
      prefilled_here_seconds_ = event.prefilled().prefill_seconds();
      ReleasePrefillWork();
      ObservePrefill(*decode_node_, event.prefilled().queue_seconds(),
                     event.prefilled().prefill_seconds(), event.prefilled().cached_tokens(),
                     received);
      break;
    case v1::DecodeEvent::kPromptLogprobs:
      TakePromptLogprobs(std::move(*event.mutable_prompt_logprobs()));
      break;
    case v1::DecodeEvent::kEmbedding:
      AttributeFirstToken(prefilled_here_seconds_, received);
      TakeEmbedding(event.embedding());
      break;
    case v1::DecodeEvent::KIND_NOT_SET:
      break;
  }
}

void SequenceFlow::OnPrefillEvent(v1::PrefillEvent event, absl::Time received) {
  const auto self = shared_from_this();
  if (event.has_handed()) {
    const double exposed = event.handed().transfer_exposed_seconds();
    if (prefill_node_ && decode_node_) {
      prefill_node_->client->HandOverWorked(decode_node_->hello.incarnation());
    }
    router_.metrics.transfer_exposed.Observe(exposed);
    timings_.transfer_exposed_ms = 1e3 * exposed;
    const double bytes = static_cast<double>(event.handed().kv_bytes());
    for (const auto* node : {prefill_node_.get(), decode_node_.get()}) {
      if (node != nullptr) node->client->rates().transfer.Observe(bytes, exposed, received);
    }
    ReleaseLease();
    return;
  }
  if (ended_) return;
  if (event.has_prompt_logprobs()) {
    return TakePromptLogprobs(std::move(*event.mutable_prompt_logprobs()));
  }
  if (event.has_embedding()) {
    const v1::PrefillEmbedding& embedding = event.embedding();
    prefill_node_->client->CallWorked();
    ReleasePrefillWork();
    ObservePrefill(*prefill_node_, embedding.queue_seconds(), embedding.prefill_seconds(),
                   embedding.cached_tokens(), received);
    AttributeFirstToken(embedding.prefill_seconds(), received);
    return TakeEmbedding(embedding.embedding());
  }
  if (!event.has_first_token()) return;
  const v1::PrefillFirstToken& first = event.first_token();
  prefill_node_->client->CallWorked();
  ReleasePrefillWork();
  ObservePrefill(*prefill_node_, first.queue_seconds(), first.prefill_seconds(),
                 first.cached_tokens(), received);
  AttributeFirstToken(first.prefill_seconds(), received);
  Accept(first.token(), received);
  if (ended_) return;
  if (first.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
    FinishAsNodeSays(first.finish_reason());
  } else if (decode_finished_ &&
             static_cast<int32_t>(output_.size()) >= decode_finished_->output_tokens()) {
    FinishAsNodeSays(decode_finished_->finish_reason());
  }
}

void SequenceFlow::Accept(const v1::Token& token, absl::Time received) {
  const int32_t next = static_cast<int32_t>(output_.size());
  if (token.index() < 0 || token.index() >= spec_.stop.max_tokens()) {
    return Fail(
        {.message = "A node sent a token outside of the answer.", .code = "internal_error"});
  }
  if (token.index() < next) {
    // A second prefill node draws the first token again, and must draw the same.
    if (output_[token.index()] == token.id()) return;
    return Fail(
        {.message = "Two nodes drew different tokens for one request.", .code = "internal_error"});
  }
  if (token.index() > next) {
    early_.emplace(token.index(), token);
    return;
  }
  Deliver(token, received);
  while (!ended_ && !early_.empty() &&
         early_.begin()->first == static_cast<int32_t>(output_.size())) {
    const v1::Token waiting = std::move(early_.begin()->second);
    early_.erase(early_.begin());
    Deliver(waiting, received);
  }
}

bool SequenceFlow::EndsSequence(int32_t id) const {
  const auto& stops = spec_.stop.stop_token_ids();
  if (std::find(stops.begin(), stops.end(), id) != stops.end()) return true;
  const std::vector<int32_t>& ends = router_.tokenizer.eos_ids();
  return !spec_.stop.ignore_eos() && std::find(ends.begin(), ends.end(), id) != ends.end();
}

void SequenceFlow::Deliver(const v1::Token& token, absl::Time received) {
  Delta delta;
  delta.choice = spec_.choice;
  if (output_.empty()) AddPromptScores(&delta);
  if (ended_) return;
  output_.push_back(token.id());
  const bool end = EndsSequence(token.id());
  const auto& stop_ids = spec_.stop.stop_token_ids();
  const bool show_end = spec_.include_stop && end &&
                        std::find(stop_ids.begin(), stop_ids.end(), token.id()) != stop_ids.end();
  TextStream::Piece piece = end && !show_end ? text_.Finish(&token) : text_.Push(token);
  const bool last = static_cast<int32_t>(output_.size()) >= spec_.stop.max_tokens();
  if (!text_.stopped() && (show_end || (!end && last))) {
    TextStream::Piece tail = text_.Finish(nullptr);
    piece.text += tail.text;
    std::move(tail.tokens.begin(), tail.tokens.end(), std::back_inserter(piece.tokens));
    delta.finish = v1::FINISH_REASON_LENGTH;
  }
  if (end) delta.finish = v1::FINISH_REASON_STOP;
  if (text_.stopped()) {
    delta.finish = v1::FINISH_REASON_STOP;
    delta.stop_reason = text_.matched();
  } else if (end) {
    if (std::find(stop_ids.begin(), stop_ids.end(), token.id()) != stop_ids.end()) {
      delta.stop_reason = token.id();
    }
  }
  if (spec_.score_only) {
    piece = {};
    delta.finish = v1::FINISH_REASON_LENGTH;
    delta.stop_reason = {};
  }
  delta.text = output_.size() == 1 ? spec_.echo + piece.text : std::move(piece.text);
  delta.tokens = std::move(piece.tokens);
  const v1::FinishReason finish = delta.finish;
  ObserveToken(router_.clock.Now());
  listener_->OnSequenceDelta(std::move(delta), spec_.score_only ? 0 : 1);
  const absl::Time relayed = router_.clock.Now();
  router_.metrics.relay.Observe(absl::ToDoubleSeconds(relayed - received));
  timings_.timeline.Add(Phase::kStream, relayed);
  Note("running");
  if (finish != v1::FINISH_REASON_UNSPECIFIED) Finish(finish);
}

void SequenceFlow::FinishAsNodeSays(v1::FinishReason reason) {
  if (output_.empty()) {
    return Fail(
        {.message = "A node ended the answer before its first token.", .code = "internal_error"});
  }
  if (reason != v1::FINISH_REASON_STOP && reason != v1::FINISH_REASON_LENGTH) {
    return Fail({.message = "A node broke the answer off.", .code = "internal_error"});
  }
  TextStream::Piece tail = text_.Finish(nullptr);
  Delta delta;
  delta.choice = spec_.choice;
  delta.text = std::move(tail.text);
  delta.tokens = std::move(tail.tokens);
  delta.finish = reason;
  if (text_.stopped()) {
    delta.finish = v1::FINISH_REASON_STOP;
    delta.stop_reason = text_.matched();
  }
  const v1::FinishReason finish = delta.finish;
  listener_->OnSequenceDelta(std::move(delta), 0);
  Finish(finish);
}

void SequenceFlow::ObservePrefill(const Node& node, double queue_seconds, double prefill_seconds,
                                  int64_t cached_tokens, absl::Time received) {
  const int64_t prompt = static_cast<int64_t>(spec_.prompt->size()) + resumed_;
  const int64_t ahead = tokens_ahead_ + std::max<int64_t>(prompt - cached_tokens, 1);
  node.client->rates().prefill.Observe(static_cast<double>(ahead), queue_seconds + prefill_seconds,
                                       received);
  if (estimated_ttft_s_ >= 0) {
    const double measured = absl::ToDoubleSeconds(received - placed_at_);
    router_.metrics.first_token_error.Observe(std::abs(estimated_ttft_s_ - measured));
  }
  if (!output_.empty()) return;  // a sequence that goes on elsewhere had its first token before
  router_.metrics.queue.Observe(queue_seconds);
  router_.metrics.prefill.Observe(prefill_seconds);
  timings_.queue_ms = 1e3 * queue_seconds;
  timings_.prefill_ms = 1e3 * prefill_seconds;
  cached_tokens_ = static_cast<int32_t>(cached_tokens);
}

void SequenceFlow::ObserveEnd() {
  if (output_.size() < 2) return;
  const double between = absl::ToDoubleSeconds(last_token_ - first_token_at_) /
                         static_cast<double>(output_.size() - 1);
  if (spec_.tpot_slo_s > 0) {
    router_.metrics.tpot_objective[between <= spec_.tpot_slo_s].Add();
  }
  // A few tokens say little about a mean; those of several attempts are not of one node.
  constexpr size_t kTokensMin = 8;
  if (estimated_tpot_s_ < 0 || resumed_ > 0 || output_.size() < kTokensMin) return;
  router_.metrics.inter_token_error.Observe(std::abs(estimated_tpot_s_ - between));
}

void SequenceFlow::ObserveToken(absl::Time now) {
  RouterMetrics& metrics = router_.metrics;
  if (output_.size() == 1) {
    first_token_ = now - spec_.arrived;
    first_token_at_ = now;
    metrics.first_token.Observe(absl::ToDoubleSeconds(first_token_));
    if (spec_.ttft_slo_s > 0) {
      metrics.ttft_objective[absl::ToDoubleSeconds(first_token_) <= spec_.ttft_slo_s].Add();
    }
    metrics.waiting.fetch_sub(1);
    metrics.running.fetch_add(1);
  } else {
    if (output_.size() == 2) {
      metrics.second_token.Observe(absl::ToDoubleSeconds(now - spec_.arrived));
    }
    metrics.inter_token.Observe(absl::ToDoubleSeconds(now - last_token_));
  }
  last_token_ = now;
  metrics.generation_tokens.Add();
}

}  // namespace baton::router
