// What happened to a sequence. Each sequence carries its listener.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "engine/sampler.h"
#include "engine/sequence.h"

namespace baton::engine {

// Called on the engine's thread; must not block.
class StepListener {
 public:
  virtual ~StepListener() = default;
  // One layer's keys and values of the tokens [begin, end) are in the sequence's blocks.
  virtual void OnLayerWritten(const Sequence& sequence, int32_t layer, int64_t begin,
                              int64_t end) = 0;
  // The first step of the sequence starts.
  virtual void OnStarted(const Sequence& sequence) = 0;
  // Tokens of the prompt, from position `first` on, have been scored: once for each, in order, all
  // before the first OnToken.
  virtual void OnPromptScored(const Sequence& sequence, int64_t first,
                              const std::vector<PromptToken>& tokens) = 0;
  // A token was drawn; it is the last of sequence.tokens. `reason` is set when it ends the
  // sequence.
  virtual void OnToken(const Sequence& sequence, const SampledToken& token,
                       FinishReason reason) = 0;
  // The last call: the engine gives the sequence back, with its blocks. OK after a token that ended
  // it, or where it embeds after the prompt; Cancelled, or an error of the model.
  virtual void OnFinished(std::unique_ptr<Sequence> sequence, absl::Status status) = 0;
};

}  // namespace baton::engine
