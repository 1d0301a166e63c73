// A language model on one device: from tokens and weights to logits.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "device/tensor.h"
#include "models/forward_batch.h"
#include "models/model_config.h"

namespace baton::models {

// Not thread-safe: one thread at a time calls Forward. Holds prepared weights and scratch memory;
// never owns KV blocks.
class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelConfig& config() const = 0;

  // Runs one step: appends the batch's keys and values to the paged cache and computes the logits
  // it asks for.
  //
  // `logits` receives one row of [vocab_size] per requested position, in order of the batch's
  // sequences (for LogitRows::kAll one row per token); a sequence with `hidden` has none among
  // them. The rows live in memory of the model, readable by the host, until the next Forward. A
  // batch of more than max_batch_tokens() tokens is InvalidArgument, as is a token id outside the
  // vocabulary, a position beyond the context length or a `hidden` that is not of the size of its
  // rows. Deterministic (design promise 1): a row depends only on its own sequence.
  virtual absl::Status Forward(const ForwardBatch& batch, device::ConstMatrixView* logits) = 0;

  // The most tokens that one Forward takes.
  virtual int32_t max_batch_tokens() const = 0;
};

}  // namespace baton::models
