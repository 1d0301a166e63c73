// One metadata value of a GGUF file, still in the file's bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "models/gguf/byte_cursor.h"

namespace baton::models {

// The value types of GGUF, by their numbers in the file.
enum class GgufValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// A scalar, a string or an array of either. Points into the file, which must outlive it; all its
// lengths are checked.
class GgufValue {
 public:
  // Reads type and value of metadata key `key`. Errors: ByteCursor's, and for an unknown type
  // number, an array of arrays or a bool that is neither 0 nor 1.
  static absl::StatusOr<GgufValue> Parse(ByteCursor& cursor, absl::string_view key);

  // Where the value (for an array its first element) lies in the file.
  const uint8_t* data() const { return data_; }
  // "uint32", "array of 49152 string".
  std::string TypeName() const;

  // Each: InvalidArgument "is a <type>, needed <type>" or "... does not fit"; the caller adds file
  // and key. Integers of every width are accepted where the value fits, floats of both widths. The
  // array forms do not accept scalars; AsInts accepts bools as 0 and 1.
  absl::StatusOr<absl::string_view> AsString() const;
  absl::StatusOr<uint64_t> AsUint() const;
  absl::StatusOr<int64_t> AsInt() const;
  absl::StatusOr<double> AsFloat() const;
  absl::StatusOr<bool> AsBool() const;
  absl::StatusOr<std::vector<absl::string_view>> AsStrings() const;
  absl::StatusOr<std::vector<int64_t>> AsInts() const;
  absl::StatusOr<std::vector<double>> AsFloats() const;

 private:
  absl::Status Mismatch(absl::string_view needed) const;

  GgufValueType type_ = GgufValueType::kUint8;  // of the elements, for an array
  bool is_array_ = false;
  uint64_t count_ = 1;
  const uint8_t* data_ = nullptr;  // first element; for strings its 64-bit length
};

}  // namespace baton::models
