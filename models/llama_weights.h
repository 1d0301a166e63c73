// The weights of a Llama model on a device.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "device/buffer.h"
#include "device/device.h"
#include "device/weight.h"
#include "models/checkpoint.h"
#include "models/model_config.h"

namespace baton::models {

struct LlamaLayer {
  device::Buffer attention_norm;                     // [hidden]
  std::unique_ptr<device::Weight> query;             // [query_heads * head_dim, hidden]
  std::unique_ptr<device::Weight> key, value;        // [kv_heads * head_dim, hidden]
  std::unique_ptr<device::Weight> attention_output;  // [hidden, query_heads * head_dim]
  // One number an output of the weights above; empty where the model has no biases.
  device::Buffer query_bias, key_bias, value_bias, attention_output_bias;
  device::Buffer feed_forward_norm;          // [hidden]
  std::unique_ptr<device::Weight> gate, up;  // [intermediate, hidden]
  std::unique_ptr<device::Weight> down;      // [hidden, intermediate]
};

struct LlamaWeights {
  std::unique_ptr<device::Weight> embedding;  // [vocab, hidden]
  std::vector<LlamaLayer> layers;
  device::Buffer output_norm;  // [hidden]
  std::unique_ptr<device::Weight>
      output;  // [vocab, hidden]; null where the embedding serves for it

  const device::Weight& logits() const { return output != nullptr ? *output : *embedding; }
};

// Packs tensor by tensor. Every shape is checked against `config`, every tensor of the file must be
// one that the family has; InvalidArgument names file and tensor. `on_progress` as in LoadOptions.
absl::StatusOr<LlamaWeights> LoadLlamaWeights(const Checkpoint& checkpoint,
                                              const ModelConfig& config, device::Device& device,
                                              const std::function<void(float)>& on_progress);

}  // namespace baton::models
