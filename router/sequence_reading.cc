// SequenceFlow: what nodes read off the prompt besides its continuation.
#include <algorithm>
#include <iterator>
#include <utility>

#include "router/sequence_flow.h"

namespace baton::router {

v1::SamplingParams SequenceFlow::SamplingFor(bool reads) const {
  v1::SamplingParams sampling = spec_.sampling;
  // Who goes on after the first token has nothing to add to what was delivered with it.
  if (!reads || resumed_ > 0) sampling.clear_prompt_logprobs();
  return sampling;
}

void SequenceFlow::TakePromptLogprobs(v1::PromptLogprobs logprobs) {
  const size_t first = static_cast<size_t>(std::max(logprobs.first(), 0));
  // A second node reads the prompt from the beginning; its numbers are the same.
  if (first < 1 || first - 1 > prompt_scores_.size()) {
    return Fail({.message = "A node left tokens of the prompt out.", .code = "internal_error"});
  }
  prompt_scores_.resize(first - 1);
  std::move(logprobs.mutable_tokens()->begin(), logprobs.mutable_tokens()->end(),
            std::back_inserter(prompt_scores_));
}

void SequenceFlow::AddPromptScores(Delta* delta) {
  if (!spec_.sampling.has_prompt_logprobs()) return;
  if (prompt_scores_.size() + 1 != spec_.prompt->size()) {
    return Fail({.message = "A node did not score the whole prompt.", .code = "internal_error"});
  }
  delta->prompt_scores =
      std::make_shared<const std::vector<v1::PromptToken>>(std::move(prompt_scores_));
}

void SequenceFlow::TakeEmbedding(const v1::Embedding& embedding) {
  if (!spec_.embed || embedding.values_size() == 0) {
    return Fail({.message = "A node sent an embedding for a text.", .code = "internal_error"});
  }
  Delta delta;
  delta.choice = spec_.choice;
  delta.embedding.assign(embedding.values().begin(), embedding.values().end());
  delta.finish = v1::FINISH_REASON_STOP;
  listener_->OnSequenceDelta(std::move(delta), 0);
  Finish(v1::FINISH_REASON_STOP);
}

}  // namespace baton::router
