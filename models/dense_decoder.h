// Decoders whose layers are one attention and one dense feed-forward network: Llama and its many
// relatives, which differ in what a DenseFamily says.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "models/checkpoint.h"
#include "models/decoder.h"
#include "models/grouped_attention.h"
#include "models/mixture.h"
#include "models/model_registry.h"

namespace baton::models {

struct DenseLayer {
  GroupedAttentionOptions attention;
  FeedForwardOptions feed_forward;
};

struct DenseFamily {
  std::function<DenseLayer(int32_t layer)> layer;
  float embedding_scale = 1;  // of embedded tokens
  float norm_offset = 0;      // added to the gain of every norm
};

absl::StatusOr<std::unique_ptr<Model>> LoadDenseDecoder(const Checkpoint& checkpoint,
                                                        const ModelConfig& config,
                                                        device::Device& device,
                                                        const LoadOptions& options,
                                                        const DenseFamily& family);

}  // namespace baton::models
