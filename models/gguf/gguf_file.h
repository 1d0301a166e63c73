// A GGUF file (versions 2 and 3), mapped into memory: metadata and where each tensor lies.
//
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Every count, length, offset
// and product is checked when the file is opened, with limits that come from the file's own size;
// nothing is allocated by a number that the file merely claims. Errors are InvalidArgument and name
// file, field and byte offset.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "models/gguf/ggml_type.h"
#include "models/gguf/gguf_value.h"
#include "models/gguf/mapped_file.h"

namespace baton::models {

struct GgufTensor {
  std::string name;
  GgmlType type = GgmlType::kF32;
  int32_t rank = 0;  // 1 .. 4
  std::array<int64_t, 4> dims{1, 1, 1,
                              1};  // dims[0] varies fastest (the columns of a matrix); each >= 1
  uint64_t offset = 0;             // in the file
  uint64_t offset_field = 0;       // where the tensor table says so, for messages
  // Size and place of the data (aligned to at least 8 bytes); 0 and null for a type that cannot be
  // read.
  uint64_t bytes = 0;
  const uint8_t* data = nullptr;

  // "[576, 49152]".
  std::string DimsText() const;
};

// Immutable after opening; thread-safe. Views and pointers live as long as the object.
class GgufFile {
 public:
  static constexpr uint64_t kDefaultAlignment = 32;

  // NotFound: no such file. InvalidArgument: not GGUF, corrupt or truncated.
  static absl::StatusOr<std::shared_ptr<const GgufFile>> Open(const std::string& path);
  // The same from `bytes`, which must outlive the object and begin at an address aligned to 8
  // bytes; `name` stands for the path in messages.
  static absl::StatusOr<std::shared_ptr<const GgufFile>> FromBytes(const std::string& name,
                                                                   absl::Span<const uint8_t> bytes);

  const std::string& path() const { return path_; }
  bool Has(absl::string_view key) const { return metadata_.find(key) != metadata_.end(); }

  // Metadata by key. NotFound: no such key. InvalidArgument: of another type, or a number that does
  // not fit; both name file, key and types. Integers and floats are accepted in every width that
  // the format has.
  absl::StatusOr<std::string> GetString(absl::string_view key) const;
  absl::StatusOr<uint64_t> GetUint(absl::string_view key) const;
  absl::StatusOr<int64_t> GetInt(absl::string_view key) const;
  absl::StatusOr<double> GetFloat(absl::string_view key) const;
  absl::StatusOr<bool> GetBool(absl::string_view key) const;
  absl::StatusOr<std::vector<absl::string_view>> GetStrings(absl::string_view key) const;
  absl::StatusOr<std::vector<int64_t>> GetInts(absl::string_view key) const;
  absl::StatusOr<std::vector<double>> GetFloats(absl::string_view key) const;

  // In the order of the file.
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  // Null where there is none of that name.
  const GgufTensor* Find(absl::string_view name) const;
  // A tensor whose data can be used. NotFound: none of that name. InvalidArgument: its type cannot
  // be read.
  absl::StatusOr<const GgufTensor*> GetTensor(absl::string_view name) const;

  // The whole file; the part before header_bytes() is header, metadata and tensor table.
  absl::Span<const uint8_t> bytes() const { return bytes_; }
  uint64_t header_bytes() const { return header_bytes_; }

 private:
  GgufFile() = default;
  absl::Status Parse();
  absl::Status ParseMetadata(ByteCursor& cursor, uint64_t count);
  absl::Status ParseTensor(ByteCursor& cursor, uint64_t index);
  absl::Status PlaceTensors(const ByteCursor& cursor);
  absl::StatusOr<uint64_t> Alignment(const ByteCursor& cursor) const;
  template <typename T>
  absl::StatusOr<T> Get(absl::string_view key, absl::StatusOr<T> (GgufValue::*as)() const) const;

  MappedFile mapping_;  // empty for FromBytes
  std::string path_;
  absl::Span<const uint8_t> bytes_;
  uint64_t header_bytes_ = 0;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t, std::less<>> tensor_index_;
};

}  // namespace baton::models
