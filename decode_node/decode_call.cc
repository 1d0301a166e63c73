#include "decode_node/decode_call.h"

#include <utility>

#include "base/status_macros.h"
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

DecodeCall::DecodeCall(const Node& node, std::string ticket_id,
                       std::unique_ptr<engine::Sequence> sequence,
                       std::shared_ptr<std::atomic<int32_t>> active)
    : node_(node),
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

void DecodeCall::Lease(const v1::Ticket& ticket, int32_t prefill_block_tokens,
                       int32_t lease_timeout_ms) {
  int32_t prompt_tokens;
  std::vector<kvcache::BlockRef> reused;
  {
    MutexLock lock(mutex_);
    if (sequence_ == nullptr) return;  // cancelled
    prompt_tokens = static_cast<int32_t>(sequence_->prompt_tokens);
    if (node_.cache != nullptr) {
      engine::Sequence& s = *sequence_;
      node_.cache->ExtendKeys(s.tokens, s.cache_salt, &s.block_keys);
      const int32_t block_tokens = node_.cache->block_tokens();
      reused =
          node_.cache->Lookup(absl::MakeConstSpan(s.block_keys)
                                  .first(kvcache::ReusableBlocks(s.prompt_tokens, block_tokens)));
      s.blocks_filed = static_cast<int32_t>(reused.size());
      s.cached_tokens = int64_t{s.blocks_filed} * block_tokens;
    }
  }
  // A block of which this node has a part is missing.
  int32_t first_missing_block = static_cast<int32_t>(reused.size());
  if (first_missing_block > 0 && prefill_block_tokens > 0) {
    first_missing_block = first_missing_block * node_.cache->block_tokens() / prefill_block_tokens;
  }
  const auto call = shared_from_this();
  absl::Status status = node_.intake.Reserve(
      ticket, prompt_tokens, std::move(reused),
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
  event.mutable_leased()->set_first_missing_block(first_missing_block);
  event.mutable_leased()->set_lease_timeout_ms(lease_timeout_ms);
  stream_->Send(std::move(event));
}

void DecodeCall::PrefillHere() {
  absl::Status status;
  {
    MutexLock lock(mutex_);
    if (state_ != State::kLeased) return;  // cancelled
    state_ = State::kRunning;
    prefill_here_ = true;
    std::unique_ptr<engine::Sequence> sequence = std::move(sequence_);
    sequence->listener = shared_from_this();
    // Under the lock: a cancel that comes now finds the sequence in the engine.
    status = node_.engine.Submit(std::move(sequence));
  }
  if (!status.ok()) EndIf(State::kRunning, std::move(status));
}

void DecodeCall::Committed(std::vector<kvcache::BlockRef> blocks, const v1::Token& first_token) {
  absl::Status status;
  {
    MutexLock lock(mutex_);
    if (state_ != State::kLeased) return;
    state_ = State::kRunning;
    committed_ = node_.clock.Now();
    std::unique_ptr<engine::Sequence> sequence = std::move(sequence_);
    sequence->blocks.Append(std::move(blocks));
    sequence->computed = sequence->prompt_tokens;
    sequence->tokens.push_back(first_token.id());
    sequence->listener = shared_from_this();
    // Under the lock: a cancel that comes now finds the sequence in the engine.
    status = node_.engine.Submit(std::move(sequence));
  }
  if (!status.ok()) EndIf(State::kRunning, std::move(status));
}

void DecodeCall::Cancelled() {
  if (EndIf(State::kLeased, absl::CancelledError("cancelled by the caller"))) {
    // Only then is the lease this call's own: a call that was refused because its ticket was taken
    // must not release it.
    node_.intake.Release(ticket_id_);
    return;
  }
  node_.engine.Cancel(id_);
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

void DecodeCall::OnStarted(const engine::Sequence& sequence) {
  previous_ = decode_begin_ = sequence.first_step;
}

void DecodeCall::SendPrefilled(const engine::Sequence& sequence) {
  v1::DecodeEvent event;
  v1::DecodePrefilled* prefilled = event.mutable_prefilled();
  prefilled->set_queue_seconds(absl::ToDoubleSeconds(sequence.first_step - sequence.submitted));
  prefilled->set_prefill_seconds(absl::ToDoubleSeconds(sequence.last_token - sequence.first_step));
  prefilled->set_cached_tokens(static_cast<int32_t>(sequence.cached_tokens));
  stream_->Send(std::move(event));
}

void DecodeCall::OnToken(const engine::Sequence& sequence, const engine::SampledToken& token,
                         engine::FinishReason reason) {
  if (first_message_ && prefill_here_) {
    SendPrefilled(sequence);
    previous_ = committed_ = decode_begin_ = sequence.last_token;
  }
  v1::DecodeEvent event;
  *event.mutable_tokens()->add_tokens() =
      engine::TokenToProto(sequence.output_tokens() - 1, token, sequence.sampling);
  event.mutable_tokens()->set_step_seconds(absl::ToDoubleSeconds(sequence.last_token - previous_));
  if (std::exchange(first_message_, false)) {
    event.mutable_tokens()->set_wait_seconds(absl::ToDoubleSeconds(decode_begin_ - committed_));
  }
  previous_ = sequence.last_token;
  reason_ = reason;
  stream_->Send(std::move(event));
}

void DecodeCall::OnPromptScored(const engine::Sequence&, int64_t first,
                                const std::vector<engine::PromptToken>& tokens) {
  v1::DecodeEvent event;
  *event.mutable_prompt_logprobs() = engine::PromptLogprobsToProto(first, tokens);
  stream_->Send(std::move(event));
}

absl::Status DecodeCall::SendEmbedding(const engine::Sequence& sequence) {
  BATON_ASSIGN_OR_RETURN(const std::vector<float> values, engine::EmbeddingOf(sequence.reading));
  SendPrefilled(sequence);
  v1::DecodeEvent event;
  event.mutable_embedding()->mutable_values()->Add(values.begin(), values.end());
  stream_->Send(std::move(event));
  return absl::OkStatus();
}

void DecodeCall::SendFinished(const engine::Sequence& sequence) {
  v1::DecodeEvent event;
  v1::DecodeFinished* finished = event.mutable_finished();
  finished->set_finish_reason(engine::FinishReasonToProto(reason_));
  finished->set_output_tokens(sequence.output_tokens());
  finished->set_wait_seconds(absl::ToDoubleSeconds(decode_begin_ - committed_));
  finished->set_decode_seconds(absl::ToDoubleSeconds(sequence.last_token - decode_begin_));
  stream_->Send(std::move(event));
}

void DecodeCall::OnFinished(std::unique_ptr<engine::Sequence> sequence, absl::Status status) {
  if (status.ok() && sequence->reading.embeds()) {
    status = SendEmbedding(*sequence);
  } else if (status.ok()) {
    SendFinished(*sequence);
  }
  sequence.reset();  // its blocks are free before the caller can know that it ended
  EndIf(State::kRunning, std::move(status));
}

}  // namespace baton::decode_node
