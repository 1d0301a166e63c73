// What is read off a prompt while it is computed, besides its continuation: the log-probabilities
// of its tokens, or one vector that stands for it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "device/tensor.h"
#include "engine/sampler.h"
#include "models/forward_batch.h"

namespace baton::engine {

// How the hidden states behind the last norm become one vector.
enum class Pooling : uint8_t {
  kNone,  // no vector: tokens are drawn
  kMean,
  kLast,  // that of the last token
};

// One token of a prompt, by the model's distribution behind the tokens before it.
struct PromptToken {
  SampledToken token;  // with its log-probability and the likeliest ones
  int32_t rank = 0;    // 1: the likeliest of all
};

// Belongs to a sequence, and stays with it when it is preempted: nothing is read twice.
struct PromptReading {
  int32_t logprobs = -1;  // alternatives of each token; -1: no log-probabilities
  Pooling pooling = Pooling::kNone;
  bool normalize = true;    // the vector to length 1
  int64_t done = 0;         // tokens of the prompt whose rows have been read
  std::vector<double> sum;  // of their hidden states; kLast: the last one

  // Whether cached blocks are of no use: every token has to be computed.
  bool needs_every_row() const { return logprobs >= 0 || pooling == Pooling::kMean; }
  bool embeds() const { return pooling != Pooling::kNone; }
};

// The rows of the tokens [begin, end) of a prompt of `length` tokens that are to be read.
models::LogitRows RowsToRead(const PromptReading& reading, int64_t begin, int64_t end,
                             int64_t length);

// Reads the logits that follow each of the tokens from position `begin` on: `logits` has a row for
// each, of which those that were read before are skipped. Returns what stands at the positions
// reading->done - (size of the result) + 1 to reading->done. Internal when a logit is not finite.
absl::StatusOr<std::vector<PromptToken>> ReadLogits(absl::Span<const int32_t> prompt, int64_t begin,
                                                    const device::ConstMatrixView& logits,
                                                    PromptReading* reading);

// Reads the hidden states of the tokens from position `begin` on, [rows, cols].
void ReadHidden(absl::Span<const float> hidden, int64_t begin, int64_t cols,
                PromptReading* reading);

// The vector of a prompt that has been read to its end. Internal when a value is not finite.
absl::StatusOr<std::vector<float>> EmbeddingOf(const PromptReading& reading);

}  // namespace baton::engine
