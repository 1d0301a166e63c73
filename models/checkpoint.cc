#include "models/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "device/block_formats.h"
#include "models/gguf/fingerprint.h"
#include "models/gguf_config.h"
#include "models/gguf_names.h"

namespace baton::models {
namespace {

constexpr int kMaxShards = 4096;

bool IsFolder(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

// By the number of ggml: F32 for what GgufFile::GetTensor refuses.
device::DType ToDType(GgmlType type) {
  using device::DType;
  using device::StoredFormat;
  switch (static_cast<uint32_t>(type)) {
    case 1:
      return DType::kF16;
    case 2:
      return DType::kQ4_0;
    case 3:
      return DType::kQ4_1;
    case 6:
      return StoredFormat::kQ5_0;
    case 7:
      return StoredFormat::kQ5_1;
    case 8:
      return DType::kQ8_0;
    case 10:
      return StoredFormat::kQ2_K;
    case 11:
      return StoredFormat::kQ3_K;
    case 12:
      return StoredFormat::kQ4_K;
    case 13:
      return StoredFormat::kQ5_K;
    case 14:
      return StoredFormat::kQ6_K;
    case 20:
      return StoredFormat::kIq4Nl;
    case 23:
      return StoredFormat::kIq4Xs;
    case 30:
      return DType::kBF16;
    case 39:
      return StoredFormat::kMxfp4;
    default:
      return DType::kF32;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Checkpoint>> Checkpoint::Open(const std::string& path) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint);
  checkpoint->path_ = path;
  if (IsFolder(path)) {
    BATON_RETURN_IF_ERROR(checkpoint->OpenFolder());
    return checkpoint;
  }
  BATON_ASSIGN_OR_RETURN(checkpoint->gguf_, GgufFile::Open(path));
  BATON_ASSIGN_OR_RETURN(checkpoint->hf_config_, ReadGgufConfig(*checkpoint->gguf_));
  BATON_ASSIGN_OR_RETURN(checkpoint->architecture_,
                         checkpoint->hf_config_->GetString("model_type"));
  return checkpoint;
}

absl::Status Checkpoint::OpenFolder() {
  BATON_ASSIGN_OR_RETURN(hf_config_, HfConfig::Read(absl::StrCat(path_, "/config.json")));
  BATON_ASSIGN_OR_RETURN(architecture_, hf_config_->GetString("model_type"));
  const std::string single = absl::StrCat(path_, "/model.safetensors");
  if (Exists(single)) {
    BATON_ASSIGN_OR_RETURN(auto shard, SafetensorsFile::Open(single));
    shards_.push_back(std::move(shard));
    return absl::OkStatus();
  }
  const std::string index = absl::StrCat(single, ".index.json");
  if (Exists(index)) return OpenShards(index);
  return absl::NotFoundError(
      absl::StrCat(path_, ": has neither model.safetensors nor model.safetensors.index.json"));
}

absl::Status Checkpoint::OpenShards(const std::string& index_path) {
  BATON_ASSIGN_OR_RETURN(const auto index, HfConfig::Read(index_path));
  BATON_ASSIGN_OR_RETURN(const auto shard_of, index->GetStringMap("weight_map"));
  std::set<std::string> names;
  for (const auto& [tensor, shard] : shard_of) {
    // A shard lies beside its index: no path of a downloaded file may lead elsewhere.
    if (shard.empty() || absl::StrContains(shard, "/")) {
      return index->Refusal(
          "weight_map",
          absl::StrCat("tensor ", Quoted(tensor), " needs a plain file name, not ", Quoted(shard)));
    }
    names.insert(shard);
  }
  if (names.empty() || names.size() > kMaxShards) {
    return absl::InvalidArgumentError(absl::StrCat(index_path, ": weight_map names ", names.size(),
                                                   " files, allowed are 1 to ", kMaxShards));
  }
  std::map<std::string, std::string> found;  // tensor -> shard
  for (const std::string& name : names) {
    BATON_ASSIGN_OR_RETURN(auto shard, SafetensorsFile::Open(absl::StrCat(path_, "/", name)));
    for (const auto& [tensor, entry] : shard->tensors()) {
      if (!found.emplace(tensor, name).second) {
        return absl::InvalidArgumentError(absl::StrCat(shard->path(), ": tensor ", Quoted(tensor),
                                                       " is also in ", found[tensor]));
      }
    }
    shards_.push_back(std::move(shard));
  }
  for (const auto& [tensor, shard] : shard_of) {
    const auto at = found.find(tensor);
    if (at == found.end() || at->second != shard) {
      return absl::InvalidArgumentError(absl::StrCat(index_path, ": tensor ", Quoted(tensor),
                                                     " is not in ", shard,
                                                     ", where weight_map puts it"));
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> Checkpoint::TensorNames() const {
  std::vector<std::string> names;
  if (gguf_ != nullptr) {
    for (const GgufTensor& tensor : gguf_->tensors()) names.push_back(tensor.name);
  }
  for (const auto& shard : shards_) {
    for (const auto& [name, tensor] : shard->tensors()) names.push_back(name);
  }
  return names;
}

std::string Checkpoint::StoredName(const std::string& name) const {
  return gguf_ == nullptr ? name : GgufPlaceOf(architecture_, name).name;
}

bool Checkpoint::Has(const std::string& name) const {
  if (gguf_ != nullptr) return gguf_->Find(StoredName(name)) != nullptr;
  return std::any_of(shards_.begin(), shards_.end(),
                     [&](const auto& shard) { return shard->tensors().count(name) > 0; });
}

absl::StatusOr<device::StoredTensor> Checkpoint::Get(const std::string& name) const {
  return gguf_ == nullptr ? GetFromSafetensors(name) : GetFromGguf(name);
}

absl::StatusOr<device::StoredTensor> Checkpoint::GetFromGguf(const std::string& name) const {
  const GgufPlace place = GgufPlaceOf(architecture_, name);
  BATON_ASSIGN_OR_RETURN(const GgufTensor* tensor, gguf_->GetTensor(place.name));
  // A part is what the last dimension counts: a matrix of three dimensions, a row of two.
  const int32_t rank_max = place.part < 0 ? 2 : 3;
  if (tensor->rank > rank_max || (place.part >= 0 && tensor->rank < 2)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": tensor ", Quoted(place.name), " has dims ", tensor->DimsText(),
                     ", needed ", place.part < 0 ? "at most two" : "two or three"));
  }
  device::StoredTensor stored{.dtype = ToDType(tensor->type),
                              .rows = tensor->dims[1],
                              .cols = tensor->dims[0],
                              .data = tensor->data};
  if (place.part < 0) return stored;
  const int64_t parts = tensor->dims[tensor->rank - 1];
  if (place.part >= parts) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor ", Quoted(place.name), " has ",
                                                   parts, " parts, needed number ", place.part));
  }
  if (tensor->rank == 2) stored.rows = 1;
  stored.data = tensor->data + static_cast<uint64_t>(place.part) * (tensor->bytes / parts);
  return stored;
}

absl::StatusOr<const SafetensorsTensor*> Checkpoint::GetRaw(const std::string& name) const {
  for (const auto& shard : shards_) {
    const auto at = shard->tensors().find(name);
    if (at != shard->tensors().end()) return &at->second;
  }
  return absl::NotFoundError(absl::StrCat(path_, ": has no tensor ", Quoted(name)));
}

absl::StatusOr<device::StoredTensor> Checkpoint::GetFromSafetensors(const std::string& name) const {
  BATON_ASSIGN_OR_RETURN(const SafetensorsTensor* tensor, GetRaw(name));
  device::StoredTensor stored;
  if (tensor->dtype == "F32") {
    stored.dtype = device::DType::kF32;
  } else if (tensor->dtype == "F16") {
    stored.dtype = device::DType::kF16;
  } else if (tensor->dtype == "BF16") {
    stored.dtype = device::DType::kBF16;
  } else {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor ", Quoted(name), " is of type ",
                                                   Quoted(tensor->dtype),
                                                   ", readable are F32, F16, BF16"));
  }
  const size_t rank = tensor->shape.size();
  if (rank < 1 || rank > 2 || tensor->bytes == 0) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor ", Quoted(name), " has shape ",
                                                   tensor->ShapeText(),
                                                   ", needed one or two dimensions above 0"));
  }
  stored.cols = tensor->shape[rank - 1];
  stored.rows = rank == 2 ? tensor->shape[0] : 1;
  stored.data = tensor->data;
  if (reinterpret_cast<uintptr_t>(tensor->data) % alignof(float) != 0) {
    std::vector<uint64_t>& copy = aligned_copies_[name];
    copy.resize((tensor->bytes + 7) / 8);
    std::memcpy(copy.data(), tensor->data, tensor->bytes);
    stored.data = copy.data();
  }
  return stored;
}

uint64_t Checkpoint::Fingerprint() const {
  if (gguf_ != nullptr) return models::Fingerprint(*gguf_);
  std::vector<FileExtents> files;
  for (const auto& shard : shards_) {
    const uint64_t split = shard->header_bytes();
    files.push_back({shard->bytes().subspan(0, split), shard->bytes().subspan(split)});
  }
  return models::Fingerprint(hf_config_->text(), files);
}

}  // namespace baton::models
