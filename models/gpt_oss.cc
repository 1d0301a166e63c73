#include "models/gpt_oss.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "models/config_check.h"
#include "models/grouped_attention.h"
#include "models/hf_decoder_config.h"
#include "models/mixture.h"
#include "models/mxfp4.h"

namespace baton::models {
namespace {

// Of the sigmoid of the gate; no published configuration has a field for it.
constexpr float kSwigluAlpha = 1.702f;

struct GptOssConfig {
  MixtureConfig mixture;
  std::vector<int64_t> windows;  // of each layer; 0: it sees all positions
  bool biases = true;            // of the attention's projections
  bool mxfp4 = false;            // experts are stored in it
};

absl::StatusOr<std::vector<int64_t>> ReadWindows(const HfConfig& hf) {
  BATON_ASSIGN_OR_RETURN(const int64_t layers, HfCount(hf, "num_hidden_layers", kMaxLayers));
  BATON_ASSIGN_OR_RETURN(const int64_t window, HfCount(hf, "sliding_window", kMaxContext, 128));
  return ReadHfWindows(hf, layers, window, [](int64_t layer) { return layer % 2 == 0; });
}

absl::StatusOr<bool> ReadMxfp4(const HfConfig& hf) {
  if (!hf.Has("quantization_config")) return false;
  BATON_ASSIGN_OR_RETURN(const HfConfig quantisation, hf.GetObject("quantization_config"));
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(quantisation, "quant_method", "mxfp4"));
  for (const char* key : {"hidden_size", "intermediate_size"}) {
    BATON_ASSIGN_OR_RETURN(const int64_t size, hf.GetInt(key));
    if (size % kMxfp4BlockElements != 0) {
      return hf.Refusal(key, absl::StrCat("MXFP4 needs a multiple of ", kMxfp4BlockElements));
    }
  }
  return true;
}

absl::StatusOr<GptOssConfig> ReadOwn(const HfConfig& hf) {
  GptOssConfig own;
  MixtureConfig& mixture = own.mixture;
  RoutingConfig& routing = mixture.routing;
  routing.scoring = RoutingConfig::Scoring::kSoftmaxOfChosen;
  BATON_ASSIGN_OR_RETURN(routing.experts, HfCount(hf, "num_local_experts", kMaxExperts));
  BATON_ASSIGN_OR_RETURN(routing.experts_per_token,
                         HfCount(hf, "num_experts_per_tok", routing.experts));
  BATON_ASSIGN_OR_RETURN(mixture.intermediate, HfCount(hf, "intermediate_size", kMaxIntermediate));
  mixture.activation = device::ExpertActivation::kClampedSwiglu;
  mixture.alpha = kSwigluAlpha;
  BATON_ASSIGN_OR_RETURN(const double limit, hf.GetFloat("swiglu_limit", 7.0));
  if (!(limit > 0)) return hf.Refusal("swiglu_limit", "needed a number above 0");
  mixture.limit = static_cast<float>(limit);
  BATON_ASSIGN_OR_RETURN(own.windows, ReadWindows(hf));
  BATON_ASSIGN_OR_RETURN(own.biases, hf.GetBool("attention_bias", true));
  BATON_ASSIGN_OR_RETURN(own.mxfp4, ReadMxfp4(hf));
  return own;
}

// One expert's matrix of one projection, [rows, cols], as the linear layers want it.
struct ExpertMatrix {
  std::vector<float> values;
  device::DType dtype = device::DType::kBF16;
};

// MXFP4 tensors are [experts, rows, cols / 32, ...].
absl::StatusOr<ExpertMatrix> TakeMxfp4(WeightLoader& loader, const std::string& name,
                                       int32_t experts, int32_t expert, int64_t rows,
                                       int64_t cols) {
  const int64_t row_blocks = cols / kMxfp4BlockElements, blocks = rows * row_blocks;
  BATON_ASSIGN_OR_RETURN(
      const SafetensorsTensor* bytes,
      loader.Raw(name + "_blocks", "U8", {experts, rows, row_blocks, kMxfp4BlockBytes}));
  BATON_ASSIGN_OR_RETURN(const SafetensorsTensor* scales,
                         loader.Raw(name + "_scales", "U8", {experts, rows, row_blocks}));
  ExpertMatrix matrix{.values = std::vector<float>(rows * cols)};
  DequantizeMxfp4(bytes->data + expert * blocks * kMxfp4BlockBytes, scales->data + expert * blocks,
                  blocks, matrix.values.data());
  return matrix;
}

// Plain tensors are [experts, cols, rows]: turned.
absl::StatusOr<ExpertMatrix> TakePlain(WeightLoader& loader, const std::string& name,
                                       int32_t experts, int32_t expert, int64_t rows,
                                       int64_t cols) {
  BATON_ASSIGN_OR_RETURN(const FloatTensor stored,
                         loader.Slice(name, {experts, cols, rows}, expert));
  ExpertMatrix matrix{.values = std::vector<float>(rows * cols), .dtype = stored.dtype};
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) matrix.values[r * cols + c] = stored.values[c * rows + r];
  }
  return matrix;
}

// Rows of gate (which = 0) or up (which = 1), which alternate; `cols` numbers each.
std::vector<float> EverySecondRow(const std::vector<float>& both, int64_t which, int64_t cols) {
  std::vector<float> rows;
  const int64_t count = static_cast<int64_t>(both.size()) / cols;
  for (int64_t r = which; r < count; r += 2) {
    rows.insert(rows.end(), both.begin() + r * cols, both.begin() + (r + 1) * cols);
  }
  return rows;
}

// Loads the experts of one layer into a mixture's weights.
class ExpertLoader {
 public:
  ExpertLoader(WeightLoader& loader, const ModelConfig& config, const GptOssConfig& own,
               const std::string& prefix, MixtureWeights& weights)
      : loader_(loader),
        own_(own),
        prefix_(prefix),
        experts_(own.mixture.routing.experts),
        hidden_(config.hidden),
        intermediate_(own.mixture.intermediate),
        weights_(weights) {}

  absl::Status Load(int32_t e) {
    device::Expert expert;
    BATON_ASSIGN_OR_RETURN(const ExpertMatrix both,
                           Take("gate_up_proj", e, 2 * intermediate_, hidden_));
    const auto half = [&](int64_t which) { return EverySecondRow(both.values, which, hidden_); };
    BATON_ASSIGN_OR_RETURN(expert.gate, Keep(half(0), both.dtype, intermediate_, hidden_));
    BATON_ASSIGN_OR_RETURN(expert.up, Keep(half(1), both.dtype, intermediate_, hidden_));
    BATON_ASSIGN_OR_RETURN(const ExpertMatrix down, Take("down_proj", e, hidden_, intermediate_));
    BATON_ASSIGN_OR_RETURN(expert.down, Keep(down.values, down.dtype, hidden_, intermediate_));

    BATON_ASSIGN_OR_RETURN(const std::vector<float> biases,
                           Bias("gate_up_proj_bias", e, 2 * intermediate_));
    BATON_ASSIGN_OR_RETURN(expert.gate_bias, KeepBias(EverySecondRow(biases, 0, 1)));
    BATON_ASSIGN_OR_RETURN(expert.up_bias, KeepBias(EverySecondRow(biases, 1, 1)));
    BATON_ASSIGN_OR_RETURN(const std::vector<float> down_bias, Bias("down_proj_bias", e, hidden_));
    BATON_ASSIGN_OR_RETURN(expert.down_bias, KeepBias(down_bias));
    weights_.experts.push_back(expert);
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<ExpertMatrix> Take(const char* name, int32_t e, int64_t rows, int64_t cols) {
    return own_.mxfp4 ? TakeMxfp4(loader_, prefix_ + name, experts_, e, rows, cols)
                      : TakePlain(loader_, prefix_ + name, experts_, e, rows, cols);
  }
  absl::StatusOr<std::vector<float>> Bias(const char* name, int32_t e, int64_t size) {
    BATON_ASSIGN_OR_RETURN(FloatTensor bias, loader_.Slice(prefix_ + name, {experts_, size}, e));
    return std::move(bias.values);
  }
  absl::StatusOr<const device::Weight*> Keep(const std::vector<float>& values, device::DType dtype,
                                             int64_t rows, int64_t cols) {
    BATON_ASSIGN_OR_RETURN(auto weight, loader_.Prepare(values, dtype, rows, cols));
    weights_.owned.push_back(std::move(weight));
    return weights_.owned.back().get();
  }
  absl::StatusOr<const float*> KeepBias(const std::vector<float>& values) {
    BATON_ASSIGN_OR_RETURN(device::Buffer bias, loader_.ToDevice(values));
    weights_.biases.push_back(std::move(bias));
    return weights_.biases.back().floats();
  }

  WeightLoader& loader_;
  const GptOssConfig& own_;
  const std::string prefix_;
  const int32_t experts_;
  const int64_t hidden_, intermediate_;
  MixtureWeights& weights_;
};

// Of GGUF files, whose converter has parted gate and up and stacked the experts of each.
absl::StatusOr<MixtureWeights> LoadGgufMixture(WeightLoader& loader, const ModelConfig& config,
                                               const GptOssConfig& own, const std::string& layer) {
  const std::string experts = layer + "mlp.experts.";
  BATON_ASSIGN_OR_RETURN(MixtureWeights weights,
                         LoadMixtureWeights(loader, config, own.mixture,
                                            {.norm = layer + "post_attention_layernorm.weight",
                                             .router = layer + "mlp.router.weight",
                                             .experts = experts,
                                             .gate = "gate_proj",
                                             .up = "up_proj",
                                             .down = "down_proj"}));
  for (int32_t e = 0; e < own.mixture.routing.experts; ++e) {
    const auto bias = [&](const char* name, int64_t size) -> absl::StatusOr<const float*> {
      const std::string full = absl::StrCat(experts, e, ".", name, ".bias");
      BATON_ASSIGN_OR_RETURN(device::Buffer buffer, loader.Vector(full, size));
      weights.biases.push_back(std::move(buffer));
      return weights.biases.back().floats();
    };
    device::Expert& expert = weights.experts[e];
    BATON_ASSIGN_OR_RETURN(expert.gate_bias, bias("gate_proj", own.mixture.intermediate));
    BATON_ASSIGN_OR_RETURN(expert.up_bias, bias("up_proj", own.mixture.intermediate));
    BATON_ASSIGN_OR_RETURN(expert.down_bias, bias("down_proj", config.hidden));
  }
  return weights;
}

// Of folders: all experts' gates and ups in one tensor, in BF16 or MXFP4.
absl::StatusOr<MixtureWeights> LoadHfMixture(WeightLoader& loader, const ModelConfig& config,
                                             const GptOssConfig& own, const std::string& layer) {
  const int32_t experts = own.mixture.routing.experts;
  MixtureWeights weights;
  BATON_ASSIGN_OR_RETURN(weights.norm,
                         loader.Vector(layer + "post_attention_layernorm.weight", config.hidden));
  BATON_ASSIGN_OR_RETURN(weights.router,
                         loader.Matrix(layer + "mlp.router.weight", experts, config.hidden));
  ExpertLoader expert_loader(loader, config, own, layer + "mlp.experts.", weights);
  for (int32_t e = 0; e < experts; ++e) BATON_RETURN_IF_ERROR(expert_loader.Load(e));
  return weights;
}

absl::StatusOr<std::unique_ptr<FeedForwardLayer>> LoadFeedForward(WeightLoader& loader,
                                                                  DecoderContext& context,
                                                                  const GptOssConfig& own,
                                                                  const std::string& layer) {
  const bool gguf = loader.checkpoint().gguf() != nullptr;
  BATON_ASSIGN_OR_RETURN(MixtureWeights weights,
                         gguf ? LoadGgufMixture(loader, context.config, own, layer)
                              : LoadHfMixture(loader, context.config, own, layer));
  BATON_ASSIGN_OR_RETURN(weights.router_bias,
                         loader.Vector(layer + "mlp.router.bias", own.mixture.routing.experts));
  return MakeMixture(context, own.mixture, std::move(weights));
}

}  // namespace

absl::StatusOr<ModelConfig> ReadGptOssConfig(const Checkpoint& checkpoint) {
  const HfConfig& hf = *checkpoint.hf_config();
  BATON_RETURN_IF_ERROR(HfAllowOnlyText(hf, "hidden_act", "silu"));
  BATON_RETURN_IF_ERROR(ReadOwn(hf).status());
  BATON_ASSIGN_OR_RETURN(ModelConfig config, ReadHfDecoder(hf));
  BATON_RETURN_IF_ERROR(ReadHfHeads(hf, config));
  return Checked(checkpoint, std::move(config));
}

absl::StatusOr<std::unique_ptr<Model>> LoadGptOss(const Checkpoint& checkpoint,
                                                  const ModelConfig& config, device::Device& device,
                                                  const LoadOptions& options) {
  BATON_ASSIGN_OR_RETURN(const GptOssConfig own, ReadOwn(*checkpoint.hf_config()));
  BATON_ASSIGN_OR_RETURN(auto context, Decoder::MakeContext(config, device, options));
  WeightLoader loader(checkpoint, device, options.on_progress);
  BATON_ASSIGN_OR_RETURN(DecoderWeights weights, LoadDecoderEnds(loader, config));
  for (int32_t i = 0; i < config.layers; ++i) {
    const std::string layer = absl::StrCat("model.layers.", i, ".");
    BATON_ASSIGN_OR_RETURN(auto attention, LoadGroupedAttention(loader, *context, layer,
                                                                {.input_biases = own.biases,
                                                                 .output_bias = own.biases,
                                                                 .sinks = true,
                                                                 .window = own.windows[i]}));
    BATON_ASSIGN_OR_RETURN(auto feed_forward, LoadFeedForward(loader, *context, own, layer));
    weights.layers.push_back({std::move(attention), std::move(feed_forward)});
  }
  BATON_RETURN_IF_ERROR(loader.CheckAllTaken(config, {}));
  return Decoder::Create(std::move(context), std::move(weights), options);
}

}  // namespace baton::models
