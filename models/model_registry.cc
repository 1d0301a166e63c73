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
#include "models/gpt_oss.h"
#include "models/llama.h"
#include "models/llama_config.h"
#include "models/mixtral.h"
#include "models/qwen3_moe.h"

namespace baton::models {
namespace {

// What makes a family: reading its configuration and loading its model.
struct Family {
  absl::string_view architecture;
  absl::StatusOr<ModelConfig> (*read_config)(const Checkpoint& checkpoint);
  absl::StatusOr<std::unique_ptr<Model>> (*load)(const Checkpoint& checkpoint,
                                                 const ModelConfig& config, device::Device& device,
                                                 const LoadOptions& options);
};

constexpr Family kFamilies[] = {
    {"llama", ReadLlamaConfig, LlamaModel::Load},
    {"deepseek_v2", ReadDeepseekConfig, LoadDeepseek},
    {"deepseek_v3", ReadDeepseekConfig, LoadDeepseek},
    {"gpt_oss", ReadGptOssConfig, LoadGptOss},
    {"kimi_k2", ReadDeepseekConfig, LoadDeepseek},
    {"mixtral", ReadMixtralConfig, LoadMixtral},
    {"qwen3_moe", ReadQwen3MoeConfig, LoadQwen3Moe},
};

absl::StatusOr<const Family*> FamilyOf(const Checkpoint& checkpoint) {
  for (const Family& family : kFamilies) {
    if (family.architecture == checkpoint.architecture()) return &family;
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
  for (const Family& family : kFamilies) names.emplace_back(family.architecture);
  return names;
}

}  // namespace baton::models
