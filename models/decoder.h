// A decoder of attention and feed-forward layers on a residual stream: what every family does with
// a step around its layers.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "device/buffer.h"
#include "device/device.h"
#include "models/model.h"
#include "models/model_registry.h"
#include "models/rope_table.h"
#include "models/step_memory.h"

namespace baton::models {

// Rows that are computed together, and the sequences that they belong to.
struct StepRows {
  device::MatrixView x;      // [n, hidden], the residual stream
  device::MatrixView query;  // [n, query_cols()] of the layer's attention
  std::vector<device::SequenceRows> sequences;
};

// The attention of one layer, its norm before included. Borrows device, scratch and rope table.
class AttentionLayer {
 public:
  virtual ~AttentionLayer() = default;
  virtual int64_t query_cols() const = 0;
  // Computes rows.query, keys and values of rows.x, and appends keys and values.
  virtual absl::Status WriteKv(const StepRows& rows, const device::PagedKvView& kv) = 0;
  // rows.x += the projected attention of rows.query over the cache.
  virtual absl::Status Attend(const StepRows& rows, const device::PagedKvView& kv) = 0;
};

// The feed-forward network of one layer, its norm before included.
class FeedForwardLayer {
 public:
  virtual ~FeedForwardLayer() = default;
  // x += network(norm(x)), each row for itself.
  virtual absl::Status Add(const device::MatrixView& x) = 0;
};

struct DecoderLayer {
  std::unique_ptr<AttentionLayer> attention;
  std::unique_ptr<FeedForwardLayer> feed_forward;
};

// What layers share while they are loaded and run. Owned by the decoder, at a fixed address.
struct DecoderContext {
  DecoderContext(const ModelConfig& model_config, device::Device& chip, int32_t max_batch_tokens)
      : config(model_config),
        device(chip),
        memory(chip, max_batch_tokens),
        rope(model_config.rope, model_config.context_length, chip) {
    if (model_config.window_rope.has_value()) {
      window_rope.emplace(*model_config.window_rope, model_config.context_length, chip);
    }
  }

  // Of a layer that sees the last `window` positions; 0: all.
  const RopeTable& RopeOf(int64_t window) const {
    return window > 0 && window_rope.has_value() ? *window_rope : rope;
  }

  const ModelConfig config;
  device::Device& device;
  StepMemory memory;
  RopeTable rope;
  std::optional<RopeTable> window_rope;
};

struct DecoderWeights {
  std::unique_ptr<device::Weight> embedding;  // [vocab, hidden]
  float embedding_scale = 1;                  // of what is embedded, not of tied outputs
  std::vector<DecoderLayer> layers;
  device::Buffer output_norm;              // [hidden]
  std::unique_ptr<device::Weight> output;  // [vocab, hidden]; null: the embedding serves for it
};

// x += norm(in * weight^T + bias). `bias` may be null; an empty norm is none, otherwise
// Scratch::kProjected is used.
absl::Status AddLinear(DecoderContext& context, const device::Weight& weight, const float* bias,
                       const device::ConstMatrixView& in, const device::Buffer& norm,
                       const device::MatrixView& x);

class Decoder final : public Model {
 public:
  // InvalidArgument unless options.max_batch_tokens is allowed.
  static absl::StatusOr<std::unique_ptr<DecoderContext>> MakeContext(const ModelConfig& config,
                                                                     device::Device& device,
                                                                     const LoadOptions& options);
  // `weights` borrow from `context`.
  static absl::StatusOr<std::unique_ptr<Model>> Create(std::unique_ptr<DecoderContext> context,
                                                       DecoderWeights weights,
                                                       const LoadOptions& options);

  const ModelConfig& config() const override { return context_->config; }
  int32_t max_batch_tokens() const override { return max_batch_tokens_; }
  absl::Status Forward(const ForwardBatch& batch, device::ConstMatrixView* logits) override;

 private:
  Decoder(std::unique_ptr<DecoderContext> context, DecoderWeights weights,
          int32_t max_batch_tokens);
  absl::Status CheckBatch(const ForwardBatch& batch, int64_t* tokens, int64_t* positions) const;
  absl::Status CheckSequence(const ForwardSequence& sequence) const;
  absl::Status ReserveRows(int64_t rows);
  absl::Status ReserveLogits(int64_t rows);
  absl::StatusOr<StepRows> OnlyWantedRows(const ForwardBatch& batch, const StepRows& all);
  // Norms the rows of the sequences with `hidden` and writes them there; rows.x of the others
  // stays, or becomes a copy of what is left.
  absl::Status TakeHidden(const ForwardBatch& batch, StepRows* rows);

  std::unique_ptr<DecoderContext> context_;
  DecoderWeights weights_;
  int32_t max_batch_tokens_;
  std::vector<int32_t> ids_;
  // Scratch of as many rows as have been wanted at once, and of logits.
  device::Buffer wanted_x_, wanted_query_, hidden_x_, logits_;
  int64_t row_capacity_ = 0, logit_capacity_ = 0;
};

}  // namespace baton::models
