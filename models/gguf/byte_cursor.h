// Reads little-endian fields from bytes that nobody has checked yet. Every error names file, field
// and byte offset.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace baton::models {

// A name from a file as it may appear in a message: escaped, at most 64 characters of it.
std::string Quoted(absl::string_view name);

class ByteCursor {
 public:
  // `file` and `bytes` must outlive the cursor.
  ByteCursor(absl::string_view file, absl::Span<const uint8_t> bytes)
      : file_(file), bytes_(bytes) {}

  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return bytes_.size() - offset_; }

  // Reads one number. `field` appears in the error when the file ends too early.
  template <typename T>
  absl::StatusOr<T> Read(absl::string_view field) {
    static_assert(std::is_arithmetic_v<T>);
    if (remaining() < sizeof(T)) return Truncated(field, sizeof(T));
    T value;
    __builtin_memcpy(&value, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }

  // Reads a string: 64-bit length, then that many bytes. The view points into the file.
  absl::StatusOr<absl::string_view> ReadString(absl::string_view field);

  // Skips `count` elements of `element_bytes` each (> 0) and returns where they begin.
  absl::StatusOr<const uint8_t*> Skip(uint64_t count, uint64_t element_bytes,
                                      absl::string_view field);

  // InvalidArgument: "<file>: <field> at byte <offset>: <problem>".
  absl::Status Error(absl::string_view field, uint64_t offset, absl::string_view problem) const;

 private:
  absl::Status Truncated(absl::string_view field, uint64_t needed) const;

  absl::string_view file_;
  absl::Span<const uint8_t> bytes_;
  uint64_t offset_ = 0;  // <= bytes_.size()
};

}  // namespace baton::models
