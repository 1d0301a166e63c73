#include "decode_node/decode_call.h"

#include <utility>

#include "engine/wire/request_params.h"

namespace baton::decode_node {
namespace {

// A caller that reads slowly gets several tokens in one message.
bool MergeTokens(v1::DecodeEvent& last, v1::DecodeEvent& next) {
  if (!last.has_tokens() || !next.has_tokens()) return false;
  for (v1::Token& token : *next.mutable_tokens()->mutable_tokens()) {
    last.mutable_tokens()->add_tokens()->Swap(&token);
  }
  last.mutable_tokens()->set_step_seconds(next.tokens().step_seconds());
  return true;
}

}  // namespace

DecodeCall::DecodeCall(engine::Engine& engine, KvIntake& intake, const Clock& clock,
                       std::string ticket_id, std::unique_ptr<engine::Sequence> sequence,
                       std::shared_ptr<std::atomic<int32_t>> active)
    : engine_(engine),
      intake_(intake),
      clock_(clock),
      ticket_id_(std::move(ticket_id)),
      active_(std::move(active)),
      stream_(server::EventStream<v1::DecodeEvent>::Create(MergeTokens)),
      sequence_(std::move(sequence)) {
  ++*active_;
  MutexLock lock(mutex_);
  if (sequence_ != nullptr) id_ = sequence_->id;
}

DecodeCall::~DecodeCall() { --*active_; }

grpc::ServerWriteReactor<v1::DecodeEvent>* DecodeCall::Attach() {
  return stream_->Attach([call = shared_from_this()] { call->Cancelled(); });
}

void DecodeCall::Refuse(absl::Status status) { EndIf(State::kLeased, std::move(status)); }

void DecodeCall::Lease(const v1::Ticket& ticket, int32_t lease_timeout_ms) {
  int32_t prompt_tokens;
  {
    MutexLock lock(mutex_);
    if (sequence_ == nullptr) return;  // cancelled
    prompt_tokens = static_cast<int32_t>(sequence_->prompt_tokens);
  }
  const auto call = shared_from_this();
  absl::Status status = intake_.Reserve(
      ticket, prompt_tokens,
      {.on_committed =
           [call](std::vector<kvcache::BlockRef> blocks, const v1::Token& first_token) {
             call->Committed(std::move(blocks), first_token);
           },
       .on_expired =
           [call](absl::Status expired) { call->EndIf(State::kLeased, std::move(expired)); }});
  if (!status.ok()) {
    EndIf(State::kLeased, std::move(status));
    return;
  }
  // No token can overtake this: the router starts the prefill, and with it the commit, when it has
  // read it.
  v1::DecodeEvent event;
  event.mutable_leased()->set_first_missing_block(0);
  event.mutable_leased()->set_lease_timeout_ms(lease_timeout_ms);
  stream_->Send(std::move(event));
}

void DecodeCall::Committed(std::vector<kvcache::BlockRef> blocks, const v1::Token& first_token) {
  absl::Status status;
  {
    MutexLock lock(mutex_);
    if (state_ != State::kLeased) return;
    state_ = State::kRunning;
    committed_ = clock_.Now();
    std::unique_ptr<engine::Sequence> sequence = std::move(sequence_);
    sequence->blocks.Append(std::move(blocks));
    sequence->computed = sequence->prompt_tokens;
    sequence->tokens.push_back(first_token.id());
    sequence->listener = shared_from_this();
    // Under the lock: a cancel that comes now finds the sequence in the engine.
    status = engine_.Submit(std::move(sequence));
  }
  if (!status.ok()) EndIf(State::kRunning, std::move(status));
}

void DecodeCall::Cancelled() {
  if (EndIf(State::kLeased, absl::CancelledError("cancelled by the caller"))) {
    // Only then is the lease this call's own: a call that was refused because its ticket was taken
    // must not release it.
    intake_.Release(ticket_id_);
    return;
  }
  engine_.Cancel(id_);
}

bool DecodeCall::EndIf(State state, absl::Status status) {
  {
    MutexLock lock(mutex_);
    if (state_ != state) return false;
    state_ = State::kEnded;
    sequence_.reset();
  }
  stream_->Finish(std::move(status));
  return true;
}

void DecodeCall::OnStarted(const engine::Sequence& sequence) { previous_ = sequence.first_step; }

void DecodeCall::OnToken(const engine::Sequence& sequence, const engine::SampledToken& token,
                         engine::FinishReason reason) {
  v1::DecodeEvent event;
  *event.mutable_tokens()->add_tokens() =
      engine::TokenToProto(sequence.output_tokens() - 1, token, sequence.sampling);
  event.mutable_tokens()->set_step_seconds(absl::ToDoubleSeconds(sequence.last_token - previous_));
  if (std::exchange(first_message_, false)) {
    event.mutable_tokens()->set_wait_seconds(
        absl::ToDoubleSeconds(sequence.first_step - committed_));
  }
  previous_ = sequence.last_token;
  reason_ = reason;
  stream_->Send(std::move(event));
}

void DecodeCall::OnFinished(std::unique_ptr<engine::Sequence> sequence, absl::Status status) {
  if (status.ok()) {
    v1::DecodeEvent event;
    v1::DecodeFinished* finished = event.mutable_finished();
    finished->set_finish_reason(engine::FinishReasonToProto(reason_));
    finished->set_output_tokens(sequence->output_tokens());
    finished->set_wait_seconds(absl::ToDoubleSeconds(sequence->first_step - committed_));
    finished->set_decode_seconds(
        absl::ToDoubleSeconds(sequence->last_token - sequence->first_step));
    stream_->Send(std::move(event));
  }
  sequence.reset();  // its blocks are free before the caller can know that it ended
  EndIf(State::kRunning, std::move(status));
}

}  // namespace baton::decode_node
