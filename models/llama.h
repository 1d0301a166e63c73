// The Llama family (Touvron et al. 2023, Llama 3: Grattafiori et al. 2024): pre-norm transformer
// with grouped-query attention, rotary embedding and SwiGLU.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "device/buffer.h"
#include "device/device.h"
#include "models/checkpoint.h"
#include "models/llama_weights.h"
#include "models/model.h"
#include "models/model_registry.h"
#include "models/rope_table.h"

namespace baton::models {

class LlamaModel final : public Model {
 public:
  // `config` as read by ReadLlamaConfig; `device` must outlive the model. The checkpoint is not
  // needed afterwards.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const Checkpoint& checkpoint,
                                                     const ModelConfig& config,
                                                     device::Device& device,
                                                     const LoadOptions& options);

  const ModelConfig& config() const override { return config_; }
  int32_t max_batch_tokens() const override { return max_batch_tokens_; }
  absl::Status Forward(const ForwardBatch& batch, device::ConstMatrixView* logits) override;

 private:
  // Rows that are computed together, and the sequences that they belong to.
  struct Rows {
    device::MatrixView x;      // [n, hidden], the residual stream
    device::MatrixView query;  // [n, query_heads * head_dim]
    std::vector<device::SequenceRows> sequences;
  };

  LlamaModel(const ModelConfig& config, LlamaWeights weights, device::Device& device,
             int32_t max_batch_tokens);
  absl::Status AllocateScratch();
  absl::Status ReserveLogits(int64_t rows);
  absl::Status CheckBatch(const ForwardBatch& batch, int64_t* tokens, int64_t* positions) const;

  absl::Status Embed(const ForwardBatch& batch, const device::MatrixView& x);
  absl::Status WriteKv(const LlamaLayer& layer, const device::PagedKvView& kv, const Rows& rows);
  absl::Status AttendAndFeedForward(const LlamaLayer& layer, const device::PagedKvView& kv,
                                    const Rows& rows);
  absl::StatusOr<Rows> OnlyLogitRows(const ForwardBatch& batch, const Rows& all);

  ModelConfig config_;
  LlamaWeights weights_;
  device::Device& device_;
  int32_t max_batch_tokens_;
  RopeTable rope_;
  // Scratch of max_batch_tokens rows each.
  device::Buffer x_, query_, key_, value_, attended_, gated_;
  std::vector<int32_t> ids_;
  // Scratch of as many rows as logits have been asked for.
  device::Buffer logit_x_, logit_query_, logits_;
  int64_t logit_capacity_ = 0;
};

}  // namespace baton::models
