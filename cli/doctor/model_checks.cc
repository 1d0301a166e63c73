#include "cli/doctor/model_checks.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "cli/model_path.h"
#include "cli/serve_banner.h"
#include "device/paged_kv.h"
#include "engine/assembly.h"
#include "models/model_registry.h"
#include "models/text/tokenizer.h"

namespace baton::cli {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kDefaultPoolMax = int64_t{4} << 30;  // as engine/assembly.h says

int64_t WeightBytes(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path)) return static_cast<int64_t>(fs::file_size(path, error));
  int64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (entry.path().extension() == ".safetensors")
      bytes += static_cast<int64_t>(entry.file_size());
  }
  return bytes;
}

void CheckMemory(const std::string& path, const models::ModelConfig& config,
                 const ModelNeeds& needs, Findings* findings) {
  const int64_t weights = WeightBytes(path);
  const int64_t pool =
      needs.kv_bytes > 0 ? needs.kv_bytes : std::min(needs.memory_available / 4, kDefaultPoolMax);
  const int64_t all = needs.nodes * (weights + pool);
  const std::string what =
      absl::StrCat(needs.nodes, needs.nodes == 1 ? " node needs" : " nodes here need", " about ",
                   BytesText(all), " (each ", BytesText(weights), " of weights and a KV pool of ",
                   BytesText(pool), "); available: ", BytesText(needs.memory_available));
  const std::string cure =
      "lower kv_bytes, take a smaller quantisation of the model, or run fewer nodes on this "
      "machine";
  if (needs.nodes * weights > needs.memory_available) {
    findings->push_back({"model", Verdict::kError, what, cure});
  } else if (all > needs.memory_available) {
    findings->push_back({"model", Verdict::kWarning, what, cure});
  } else {
    findings->push_back({"model", Verdict::kGood, what, ""});
  }
  const auto dtype = engine::KvDType(needs.kv_dtype);
  if (!dtype.ok()) return;  // said where the configuration is checked
  const device::KvGeometry geometry = {.layers = config.layers,
                                       .kv_heads = config.kv_heads,
                                       .head_dim = config.head_dim,
                                       .block_tokens = needs.block_tokens,
                                       .dtype = *dtype,
                                       .latent_dim = config.kv_latent_dim};
  const int64_t tokens = pool / geometry.BlockBytesTotal() * needs.block_tokens;
  const int64_t context = needs.max_context > 0 ? needs.max_context : config.context_length;
  const std::string holds = absl::StrCat("a KV pool of ", BytesText(pool), " holds ", tokens,
                                         " tokens; one sequence may have ", context);
  if (tokens < context) {
    findings->push_back({"model", needs.max_context > 0 ? Verdict::kError : Verdict::kWarning,
                         holds,
                         absl::StrCat("raise kv_bytes to ",
                                      (context + needs.block_tokens - 1) / needs.block_tokens *
                                          geometry.BlockBytesTotal(),
                                      ", or set max_context to ", tokens)});
  } else {
    findings->push_back({"model", Verdict::kGood, holds, ""});
  }
}

}  // namespace

void CheckModel(const std::string& model, const ModelNeeds& needs, Findings* findings) {
  const auto path = ResolveModel(model);
  if (!path.ok()) {
    findings->push_back({"model", Verdict::kError, std::string(path.status().message()),
                         "give the path of a GGUF file or of a Hugging Face folder; scripts/model "
                         "fetches the default model and prints its path"});
    return;
  }
  const auto config = models::ReadModelConfig(*path);
  if (!config.ok()) {
    findings->push_back(
        {"model", Verdict::kError, std::string(config.status().message()),
         "README.md lists the families and file formats that are read; a file that is "
         "cut short needs to be fetched again"});
    return;
  }
  findings->push_back({"model", Verdict::kGood,
                       absl::StrCat(config->name, ": ", config->architecture, ", ", config->layers,
                                    " layers, context of ", config->context_length, " tokens, ",
                                    BytesText(WeightBytes(*path))),
                       ""});
  const auto tokenizer = models::text::Tokenizer::Open(*path);
  if (!tokenizer.ok()) {
    findings->push_back(
        {"model", Verdict::kError, std::string(tokenizer.status().message()),
         "the router needs the model's tokenizer: tokenizer.json beside the weights, "
         "or a GGUF file that has one"});
  } else if ((*tokenizer)->chat_template().empty()) {
    findings->push_back({"model", Verdict::kWarning, "the model has no chat template",
                         "/v1/completions works; /v1/chat/completions is refused"});
  }
  CheckMemory(*path, *config, needs, findings);
}

}  // namespace baton::cli
