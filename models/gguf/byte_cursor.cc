#include "models/gguf/byte_cursor.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace baton::models {

std::string Quoted(absl::string_view name) {
  constexpr size_t kShown = 64;
  const bool cut = name.size() > kShown;
  return absl::StrCat("'", absl::CHexEscape(name.substr(0, kShown)), cut ? "...'" : "'");
}

absl::StatusOr<absl::string_view> ByteCursor::ReadString(absl::string_view field) {
  const uint64_t begin = offset_;
  // Not Read(): a vocabulary has 100,000 strings, and the name of the field is only needed in an
  // error.
  if (remaining() < sizeof(uint64_t)) {
    return Truncated(absl::StrCat("length of ", field), sizeof(uint64_t));
  }
  uint64_t length;
  __builtin_memcpy(&length, bytes_.data() + begin, sizeof(length));
  offset_ += sizeof(length);
  if (length > remaining()) {
    return Error(absl::StrCat("length of ", field), begin,
                 absl::StrCat(length, ", but only ", remaining(), " bytes follow"));
  }
  const absl::string_view text(reinterpret_cast<const char*>(bytes_.data()) + offset_, length);
  offset_ += length;
  return text;
}

absl::StatusOr<const uint8_t*> ByteCursor::Skip(uint64_t count, uint64_t element_bytes,
                                                absl::string_view field) {
  if (count > remaining() / element_bytes) {
    return Error(field, offset_,
                 absl::StrCat(count, " elements of ", element_bytes, " bytes, but only ",
                              remaining(), " bytes follow"));
  }
  const uint8_t* begin = bytes_.data() + offset_;
  offset_ += count * element_bytes;
  return begin;
}

absl::Status ByteCursor::Error(absl::string_view field, uint64_t offset,
                               absl::string_view problem) const {
  return absl::InvalidArgumentError(
      absl::StrCat(file_, ": ", field, " at byte ", offset, ": ", problem));
}

absl::Status ByteCursor::Truncated(absl::string_view field, uint64_t needed) const {
  return Error(field, offset_,
               absl::StrCat("needs ", needed, " bytes, but only ", remaining(), " follow"));
}

}  // namespace baton::models
