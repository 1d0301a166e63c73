#include "models/dense_decoder.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "models/weight_loader.h"

namespace baton::models {

absl::StatusOr<std::unique_ptr<Model>> LoadDenseDecoder(const Checkpoint& checkpoint,
                                                        const ModelConfig& config,
                                                        device::Device& device,
                                                        const LoadOptions& options,
                                                        const DenseFamily& family) {
  BATON_ASSIGN_OR_RETURN(auto context, Decoder::MakeContext(config, device, options));
  WeightLoader loader(checkpoint, device, options.on_progress);
  loader.set_norm_offset(family.norm_offset);
  BATON_ASSIGN_OR_RETURN(DecoderWeights weights, LoadDecoderEnds(loader, config));
  weights.embedding_scale = family.embedding_scale;
  for (int32_t i = 0; i < config.layers; ++i) {
    const std::string prefix = absl::StrCat("model.layers.", i, ".");
    const DenseLayer layer = family.layer(i);
    BATON_ASSIGN_OR_RETURN(auto attention,
                           LoadGroupedAttention(loader, *context, prefix, layer.attention));
    BATON_ASSIGN_OR_RETURN(
        auto feed_forward,
        LoadDenseFeedForward(loader, *context, prefix, config.intermediate, layer.feed_forward));
    weights.layers.push_back({std::move(attention), std::move(feed_forward)});
  }
  BATON_RETURN_IF_ERROR(loader.CheckAllTaken(config, {}));
  return Decoder::Create(std::move(context), std::move(weights), options);
}

}  // namespace baton::models
