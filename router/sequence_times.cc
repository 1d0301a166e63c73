// SequenceFlow: where its time goes, and what the request log is told.
#include "router/sequence_flow.h"

namespace baton::router {

void SequenceFlow::AttributeFirstToken(double prefill_seconds, absl::Time received) {
  // A second prefill node's first token, after the first node's was delivered, ends no wait.
  if (static_cast<int32_t>(output_.size()) > resumed_) return;
  timings_.timeline.AddEndingWith(Phase::kQueuePrefill, Phase::kPrefill,
                                  absl::Seconds(prefill_seconds), received);
}

void SequenceFlow::AttributeTokens(const v1::DecodeTokens& tokens, absl::Time received) {
  const int32_t of_attempt = static_cast<int32_t>(output_.size()) - resumed_;
  Timeline& timeline = timings_.timeline;
  if (prefilled_here_seconds_ >= 0 && of_attempt == 0) {
    return AttributeFirstToken(prefilled_here_seconds_, received);
  }
  // Tokens that overtook the prefill node's first: what is waited for is that one.
  if (of_attempt == 0) return;
  if (of_attempt == 1 && prefilled_here_seconds_ < 0) {
    const absl::Time step_begin = received - absl::Seconds(tokens.step_seconds());
    timeline.Add(Phase::kTransferExposed, step_begin - absl::Seconds(tokens.wait_seconds()));
    timeline.Add(Phase::kQueueDecode, step_begin);
  }
  timeline.Add(Phase::kDecode, received);
}

void SequenceFlow::Note(absl::string_view state) const {
  if (spec_.record == nullptr) return;
  SequenceRecord sequence;
  sequence.choice = spec_.choice;
  sequence.state = std::string(state);
  if (prefill_node_) sequence.prefill_node = prefill_node_->hello.node_id();
  if (decode_node_) sequence.decode_node = decode_node_->hello.node_id();
  sequence.output_tokens = static_cast<int32_t>(output_.size());
  sequence.cached_tokens = cached_tokens_;
  sequence.retries = retries_;
  sequence.timeline = timings_.timeline;
  spec_.record->Update(sequence);
}

}  // namespace baton::router
