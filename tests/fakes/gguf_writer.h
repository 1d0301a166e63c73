// Writes GGUF version 3 files in memory, for tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "models/gguf/ggml_type.h"

namespace baton::fakes {

// Add what the file shall hold, in order, then take Bytes(). Checks nothing: tests also need files
// that are wrong.
class GgufWriter {
 public:
  void AddString(absl::string_view key, absl::string_view value);
  void AddUint(absl::string_view key, uint32_t value);
  void AddFloat(absl::string_view key, float value);
  void AddBool(absl::string_view key, bool value);
  void AddStrings(absl::string_view key, const std::vector<std::string>& values);
  void AddInts(absl::string_view key, const std::vector<int32_t>& values);
  // `data` is stored as it is; dims[0] varies fastest.
  void AddTensor(absl::string_view name, const std::vector<uint64_t>& dims, models::GgmlType type,
                 std::string data);

  // The file. The tensor table begins after the metadata, tensor data is aligned to 32 bytes.
  std::string Bytes() const;

 private:
  void BeginEntry(absl::string_view key, uint32_t value_type);

  uint64_t entry_count_ = 0;
  uint64_t tensor_count_ = 0;
  std::string metadata_;
  std::string tensor_table_;
  std::string data_;
};

// Quantises or rounds `values` to `type` as the format defines it. REQUIRES: a readable type; the
// size is a multiple of its block.
std::string Encode(models::GgmlType type, const std::vector<float>& values);

}  // namespace baton::fakes
