// A model whose logits and hidden states are a hash of everything that it reads back through the
// block tables: a block that is lost, mixed up, overwritten or handed over wrongly changes the next
// token.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "models/model.h"

namespace baton::fakes {

// The geometry that FakeModel needs: its keys and values are 8 bytes each for a token and a layer.
device::KvGeometry FakeModelGeometry(int32_t block_tokens = 16);

class FakeModel final : public models::Model {
 public:
  explicit FakeModel(int32_t max_batch_tokens = 64, int64_t context_length = 1024,
                     int32_t vocab_size = 64);

  const models::ModelConfig& config() const override { return config_; }
  int32_t max_batch_tokens() const override { return max_batch_tokens_; }
  // Internal when a token or a position in a block is not what the sequence wrote there.
  absl::Status Forward(const models::ForwardBatch& batch, device::ConstMatrixView* logits) override;

  // Called before each step, on the engine's thread; an error fails the step. Set before the engine
  // starts.
  std::function<absl::Status(const models::ForwardBatch&)> before_forward;
  // The first logit of a sequence whose latest token this is, is not a number.
  int32_t poison_token = -1;

 private:
  absl::Status Check(const models::ForwardBatch& batch) const;

  models::ModelConfig config_;
  const int32_t max_batch_tokens_;
  std::vector<float> logits_;
};

}  // namespace baton::fakes
