#include "prefill_node/prefill_call.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "engine/wire/request_params.h"

namespace baton::prefill_node {

PrefillCall::PrefillCall(engine::Engine& engine, const Clock& clock,
                         std::shared_ptr<CallCounters> counters)
    : engine_(engine),
      clock_(clock),
      counters_(std::move(counters)),
      stream_(server::EventStream<v1::PrefillEvent>::Create()) {
  ++counters_->active;
}

PrefillCall::~PrefillCall() { --counters_->active; }

grpc::ServerWriteReactor<v1::PrefillEvent>* PrefillCall::Attach() {
  return stream_->Attach([call = shared_from_this()] { call->Cancelled(); });
}

void PrefillCall::Refuse(absl::Status status) { stream_->Finish(std::move(status)); }

void PrefillCall::Fetched(int32_t tokens, absl::Duration took) {
  fetched_tokens_ = tokens;
  fetch_took_ = took;
}

void PrefillCall::Submit(std::unique_ptr<engine::Sequence> sequence,
                         std::unique_ptr<KvHandoff> handoff) {
  absl::Status status = absl::CancelledError("cancelled by the caller");
  {
    MutexLock lock(mutex_);
    handoff_ = std::move(handoff);
    id_ = sequence->id;
    sequence->listener = shared_from_this();
    // Under the lock: a cancel that comes now finds the sequence in the engine.
    if (!cancelled_) status = engine_.Submit(std::move(sequence));
    if (!status.ok()) ended_ = true;
  }
  if (!status.ok()) stream_->Finish(std::move(status));
}

void PrefillCall::OnStarted(const engine::Sequence& sequence) {
  if (handoff_ == nullptr) return;
  {
    MutexLock lock(mutex_);
    handoff_through_ = false;
  }
  handoff_->Start(
      [call = shared_from_this()](absl::Status status) { call->HandoffDone(std::move(status)); });
  handoff_->PushCached(sequence);
}

void PrefillCall::OnLayerWritten(const engine::Sequence& sequence, int32_t layer, int64_t begin,
                                 int64_t end) {
  if (handoff_ != nullptr) handoff_->Push(sequence, layer, begin, end);
}

void PrefillCall::OnPromptScored(const engine::Sequence&, int64_t first,
                                 const std::vector<engine::PromptToken>& tokens) {
  v1::PrefillEvent event;
  *event.mutable_prompt_logprobs() = engine::PromptLogprobsToProto(first, tokens);
  stream_->Send(std::move(event));
}

void PrefillCall::OnToken(const engine::Sequence& sequence, const engine::SampledToken& token,
                          engine::FinishReason reason) {
  v1::PrefillEvent event;
  v1::PrefillFirstToken* first = event.mutable_first_token();
  *first->mutable_token() =
      engine::TokenToProto(sequence.output_tokens() - 1, token, sequence.sampling);
  first->set_finish_reason(engine::FinishReasonToProto(reason));
  first->set_queue_seconds(absl::ToDoubleSeconds(sequence.first_step - sequence.submitted));
  first->set_prefill_seconds(absl::ToDoubleSeconds(sequence.last_token - sequence.first_step));
  first->set_prompt_tokens(static_cast<int32_t>(sequence.prompt_tokens));
  first->set_cached_tokens(static_cast<int32_t>(sequence.cached_tokens));
  first->set_fetched_tokens(
      std::min(fetched_tokens_, static_cast<int32_t>(sequence.cached_tokens)));
  first->set_fetch_seconds(absl::ToDoubleSeconds(fetch_took_));
  const v1::Token first_token = first->token();
  if (handoff_ != nullptr) {
    if (reason == engine::FinishReason::kNone) {
      {
        MutexLock lock(mutex_);
        committing_ = true;
        computed_ = sequence.last_token;
      }
      handoff_->Commit(sequence, first_token);
    } else {
      handoff_->Cancel();
    }
  }
  stream_->Send(std::move(event));
}

absl::Status PrefillCall::SendEmbedding(const engine::Sequence& sequence) {
  BATON_ASSIGN_OR_RETURN(const std::vector<float> values, engine::EmbeddingOf(sequence.reading));
  v1::PrefillEvent event;
  v1::PrefillEmbedding* sent = event.mutable_embedding();
  sent->mutable_embedding()->mutable_values()->Add(values.begin(), values.end());
  sent->set_queue_seconds(absl::ToDoubleSeconds(sequence.first_step - sequence.submitted));
  sent->set_prefill_seconds(absl::ToDoubleSeconds(sequence.last_token - sequence.first_step));
  sent->set_cached_tokens(static_cast<int32_t>(sequence.cached_tokens));
  stream_->Send(std::move(event));
  return absl::OkStatus();
}

void PrefillCall::OnFinished(std::unique_ptr<engine::Sequence> sequence, absl::Status status) {
  if (status.ok() && sequence->reading.embeds()) status = SendEmbedding(*sequence);
  const bool failed = !status.ok();
  {
    MutexLock lock(mutex_);
    engine_through_ = true;
    engine_status_ = std::move(status);
    sequence_ = std::move(sequence);
  }
  // After the status is set: it is the cause, and the cancelled hand-over its effect.
  if (failed && handoff_ != nullptr) handoff_->Cancel();
  EndWhenThrough();
}

void PrefillCall::Cancelled() {
  KvHandoff* handoff;
  uint64_t id;
  {
    MutexLock lock(mutex_);
    cancelled_ = true;
    handoff = handoff_.get();
    id = id_;
  }
  engine_.Cancel(id);
  if (handoff != nullptr) handoff->Cancel();
}

void PrefillCall::HandoffDone(absl::Status status) {
  bool stop_computing;
  {
    MutexLock lock(mutex_);
    handoff_through_ = true;
    committed_ = clock_.Now();
    // A hand-over that was called off because the first token ended the sequence is no error.
    if (committing_ || engine_status_.ok()) handoff_status_ = status;
    stop_computing = !status.ok() && !engine_through_;
  }
  if (stop_computing) engine_.Cancel(id_);
  EndWhenThrough();
}

void PrefillCall::EndWhenThrough() {
  std::unique_ptr<engine::Sequence> finished;
  absl::Status status;
  {
    MutexLock lock(mutex_);
    if (ended_ || !engine_through_ || !handoff_through_) return;
    ended_ = true;
    finished = std::move(sequence_);
    if (handoff_ != nullptr) counters_->kv_bytes_sent += handoff_->bytes_sent();
    status = engine_status_;
    // The hand-over's error is the cause where it made us stop computing.
    if (!handoff_status_.ok() && (committing_ || !status.ok())) status = handoff_status_;
    if (status.ok() && committing_) {
      v1::PrefillEvent event;
      event.mutable_handed()->set_transfer_exposed_seconds(
          absl::ToDoubleSeconds(committed_ - computed_));
      event.mutable_handed()->set_kv_bytes(handoff_->bytes_sent());
      stream_->Send(std::move(event));
    }
  }
  finished.reset();  // its blocks are free before the caller can know that it ended
  stream_->Finish(std::move(status));
}

}  // namespace baton::prefill_node
