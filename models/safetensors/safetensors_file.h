// A safetensors file, mapped into memory: which tensors it has and where each lies.
//
// Format: 8 bytes little-endian length of a JSON header, the header, the tensor data
// (https://github.com/huggingface/safetensors#format). Errors are InvalidArgument and name file,
// tensor and field.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "models/gguf/mapped_file.h"

namespace baton::models {

struct SafetensorsTensor {
  std::string dtype;           // as in the file: "F32", "BF16", ...
  std::vector<int64_t> shape;  // row-major, the last varies fastest; empty for a scalar
  uint64_t bytes = 0;
  const uint8_t* data = nullptr;  // any alignment: the format promises none

  // "[49152, 576]".
  std::string ShapeText() const;
};

// Immutable after opening; thread-safe. Pointers live as long as the object.
class SafetensorsFile {
 public:
  static constexpr uint64_t kMaxHeaderBytes = 16 << 20;
  static constexpr size_t kMaxRank = 8;

  // Checks every tensor: its range lies inside the file, no two overlap, and where the type is
  // known (F32, F16, BF16, I32,
  // ...), shape and range agree.
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> Open(const std::string& path);
  // The same from `bytes`, which must outlive the object; `name` stands for the path in messages.
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> FromBytes(
      const std::string& name, absl::Span<const uint8_t> bytes);

  const std::string& path() const { return path_; }
  const std::map<std::string, SafetensorsTensor, std::less<>>& tensors() const { return tensors_; }
  // NotFound naming file and tensor.
  absl::StatusOr<const SafetensorsTensor*> GetTensor(absl::string_view name) const;

  // The whole file; the part before header_bytes() is length and header.
  absl::Span<const uint8_t> bytes() const { return bytes_; }
  uint64_t header_bytes() const { return header_bytes_; }

 private:
  SafetensorsFile() = default;
  absl::Status Parse();
  absl::Status CheckNoOverlap() const;

  MappedFile mapping_;  // empty for FromBytes
  std::string path_;
  absl::Span<const uint8_t> bytes_;
  uint64_t header_bytes_ = 0;
  std::map<std::string, SafetensorsTensor, std::less<>> tensors_;
};

}  // namespace baton::models
