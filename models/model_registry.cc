#include "models/model_registry.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "models/checkpoint.h"
#include "models/deepseek.h"
#include "models/deepseek_config.h"
#include "models/gemma3.h"
#include "models/gpt_oss.h"
#include "models/llama.h"
#include "models/mistral.h"
#include "models/mixtral.h"
#include "models/olmo2.h"
#include "models/phi3.h"
#include "models/qwen2.h"
#include "models/qwen3.h"
#include "models/qwen3_moe.h"

namespace baton::models {
namespace {

// What makes a family: reading its configuration and loading its model.
struct Family {
  FamilySummary summary;
  absl::StatusOr<ModelConfig> (*read_config)(const Checkpoint& checkpoint);
  absl::StatusOr<std::unique_ptr<Model>> (*load)(const Checkpoint& checkpoint,
                                                 const ModelConfig& config, device::Device& device,
                                                 const LoadOptions& options);
};

// Every field of a configuration that would need more than a row says is refused by name and value.
constexpr Family kFamilies[] = {
    {{"llama", "llama", "Llama, SmolLM2: GQA, RoPE with llama3, linear and YaRN scaling"},
     ReadLlamaConfig,
     LoadLlama},
    {{"mistral", "llama", "Mistral: sliding window"}, ReadMistralConfig, LoadMistral},
    {{"qwen2", "qwen2", "Qwen2, Qwen2.5: biases of q, k and v; windows in the upper layers"},
     ReadQwen2Config,
     LoadQwen2},
    {{"qwen3", "qwen3", "Qwen3: norms of query and key heads"}, ReadQwen3Config, LoadQwen3},
    {{"gemma3_text", "gemma3",
      "Gemma 3 (text): four norms a layer, GeGLU, windows with a rotary base of their own"},
     ReadGemma3Config,
     LoadGemma3},
    {{"phi3", "phi3",
      "Phi-3, Phi-4-mini: fused projections, partial rotation, LongRoPE, sliding window"},
     ReadPhi3Config,
     LoadPhi3},
    {{"olmo2", "olmo2", "OLMo 2: norms behind attention and feed-forward network"},
     ReadOlmo2Config,
     LoadOlmo2},
    {{"mixtral", "llama", "Mixtral: top-k experts, renormalised; sliding window"},
     ReadMixtralConfig,
     LoadMixtral},
    {{"qwen3_moe", "qwen3moe",
      "Qwen3 mixtures: `norm_topk_prob`, `mlp_only_layers`, `decoder_sparse_step`"},
     ReadQwen3MoeConfig,
     LoadQwen3Moe},
    {{"deepseek_v2", "deepseek2",
      "DeepSeek-V2: latent attention (MLA) with the compressed cache; `greedy` and "
      "`group_limited_greedy` routing, shared experts"},
     ReadDeepseekConfig,
     LoadDeepseek},
    {{"deepseek_v3", "deepseek2",
      "DeepSeek-V3, R1: MLA; sigmoid routing with bias and groups; YaRN with `mscale` and "
      "`mscale_all_dim`; the multi-token-prediction layer is skipped"},
     ReadDeepseekConfig,
     LoadDeepseek},
    {{"kimi_k2", "deepseek2", "Kimi K2: as DeepSeek-V3"}, ReadDeepseekConfig, LoadDeepseek},
    {{"gpt_oss", "gpt-oss",
      "gpt-oss: attention sinks, windows in every other layer, biases, clamped SwiGLU, MXFP4 "
      "experts (kept as BF16, which holds every value)"},
     ReadGptOssConfig,
     LoadGptOss},
};

absl::StatusOr<const Family*> FamilyOf(const Checkpoint& checkpoint) {
  for (const Family& family : kFamilies) {
    if (family.summary.model_type == checkpoint.architecture()) return &family;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(checkpoint.path(), ": architecture is ", Quoted(checkpoint.architecture()),
                   ", known are: ", absl::StrJoin(KnownArchitectures(), ", ")));
}

std::string FileName(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

absl::StatusOr<ModelConfig> ReadConfig(const Family& family, const Checkpoint& checkpoint) {
  BATON_ASSIGN_OR_RETURN(ModelConfig config, family.read_config(checkpoint));
  if (config.name.empty()) config.name = FileName(checkpoint.path());
  config.fingerprint = checkpoint.Fingerprint();
  return config;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& path, device::Device& device,
                                                 const LoadOptions& options) {
  BATON_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(path));
  BATON_ASSIGN_OR_RETURN(const Family* family, FamilyOf(*checkpoint));
  BATON_ASSIGN_OR_RETURN(ModelConfig config, ReadConfig(*family, *checkpoint));
  if (options.max_context < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_context is ", options.max_context, ", needed at least 0"));
  }
  if (options.max_context > 0) {
    config.context_length = std::min(config.context_length, options.max_context);
  }
  return family->load(*checkpoint, config, device, options);
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& path) {
  BATON_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(path));
  BATON_ASSIGN_OR_RETURN(const Family* family, FamilyOf(*checkpoint));
  return ReadConfig(*family, *checkpoint);
}

std::vector<std::string> KnownArchitectures() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) names.emplace_back(family.summary.model_type);
  return names;
}

std::vector<FamilySummary> SupportedFamilies() {
  std::vector<FamilySummary> families;
  for (const Family& family : kFamilies) families.push_back(family.summary);
  return families;
}

}  // namespace baton::models
