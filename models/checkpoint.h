// An opened model file of either format: its tensors by name, and its identity. The families read
// their own metadata from it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "device/tensor.h"
#include "models/gguf/gguf_file.h"
#include "models/hf_config.h"
#include "models/safetensors/safetensors_file.h"

namespace baton::models {

// Immutable after opening. Both formats are read alike: a GGUF file's metadata as the config.json
// that would say the same (gguf_config.h), its tensors by Hugging Face's names (gguf_names.h).
class Checkpoint {
 public:
  // `path` is a GGUF file, or a folder with config.json and model.safetensors or
  // model.safetensors.index.json.
  static absl::StatusOr<std::unique_ptr<const Checkpoint>> Open(const std::string& path);

  const std::string& path() const { return path_; }
  // model_type of the config.json; for a GGUF file of an architecture that no family has,
  // general.architecture.
  const std::string& architecture() const { return architecture_; }
  // Null for a folder.
  const GgufFile* gguf() const { return gguf_.get(); }
  // Never null.
  const HfConfig* hf_config() const { return hf_config_.get(); }

  // As they are called in the file.
  std::vector<std::string> TensorNames() const;
  // How the file calls the tensor `name`, or the one that it is a part of.
  std::string StoredName(const std::string& name) const;
  bool Has(const std::string& name) const;
  // A matrix [rows, cols], or a vector as one row. The data lives as long as the checkpoint; it is
  // aligned to its elements. NotFound: no such tensor. InvalidArgument: a type that cannot be
  // computed with, or more than two dimensions. Of experts that a GGUF file stacks, the one named.
  absl::StatusOr<device::StoredTensor> Get(const std::string& name) const;
  // A safetensors tensor of any type and shape, as it lies in the file. NotFound: no such tensor,
  // or a GGUF file.
  absl::StatusOr<const SafetensorsTensor*> GetRaw(const std::string& name) const;

  // As documented at ReadModelConfig (model_registry.h).
  uint64_t Fingerprint() const;

 private:
  Checkpoint() = default;
  absl::Status OpenFolder();
  absl::Status OpenShards(const std::string& index_path);
  absl::StatusOr<device::StoredTensor> GetFromGguf(const std::string& name) const;
  absl::StatusOr<device::StoredTensor> GetFromSafetensors(const std::string& name) const;

  std::string path_;
  std::string architecture_;
  std::shared_ptr<const GgufFile> gguf_;
  std::unique_ptr<const HfConfig> hf_config_;
  std::vector<std::shared_ptr<const SafetensorsFile>> shards_;
  // Tensor data that a file stores at an odd address, copied to an even one, by name.
  mutable std::map<std::string, std::vector<uint64_t>> aligned_copies_;
};

}  // namespace baton::models
