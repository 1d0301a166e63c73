// Opens a model file and makes the model. One visible table maps architecture names to families.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "device/device.h"
#include "models/model.h"
#include "models/model_config.h"

namespace baton::models {

struct LoadOptions {
  int32_t max_batch_tokens = 512;  // sizes the scratch memory of Forward
  int64_t max_context = 0;         // 0: the model's own; otherwise at most that many positions
  // Called while loading with the fraction done, in [0, 1]. May be empty.
  std::function<void(float fraction)> on_progress;
};

// Loads weights onto `device`, which must outlive the model. `path` is a GGUF file or a folder with
// config.json and safetensors. Errors name file, field and offset; an unknown architecture lists
// the known ones.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& path, device::Device& device,
                                                 const LoadOptions& options);

// Reads only the configuration (fast; no weights are touched).
//
// The fingerprint is xxh3-64 over the file's metadata and tensor table (for safetensors:
// config.json and the headers), its size, and 64 samples of 4 KiB spread evenly over its tensor
// data.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& path);

// The architecture names that LoadModel knows: model_type of each family.
std::vector<std::string> KnownArchitectures();

// What a family is called and what it computes, as README.md's table says it.
struct FamilySummary {
  const char* model_type;         // in config.json
  const char* gguf_architecture;  // general.architecture of its GGUF files
  const char* computed;           // one line of Markdown
};
std::vector<FamilySummary> SupportedFamilies();

}  // namespace baton::models
