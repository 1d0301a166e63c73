#include "models/text/utf8.h"

#include <cstdint>

namespace baton::models::text {
namespace {

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";

// What a lead byte asks for (Unicode 15, table 3-7): length of the character and the range of its
// second byte, which excludes overlong forms, surrogates and values above U+10FFFF.
struct Lead {
  size_t length = 0;  // 0: no character begins with this byte
  uint8_t second_min = 0x80;
  uint8_t second_max = 0xBF;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) return {.length = 1};
  if (byte < 0xC2) return {};
  if (byte < 0xE0) return {.length = 2};
  if (byte < 0xF0) {
    return {.length = 3,
            .second_min = static_cast<uint8_t>(byte == 0xE0 ? 0xA0 : 0x80),
            .second_max = static_cast<uint8_t>(byte == 0xED ? 0x9F : 0xBF)};
  }
  if (byte < 0xF5) {
    return {.length = 4,
            .second_min = static_cast<uint8_t>(byte == 0xF0 ? 0x90 : 0x80),
            .second_max = static_cast<uint8_t>(byte == 0xF4 ? 0x8F : 0xBF)};
  }
  return {};
}

// Length of the longest start of `bytes` (not empty) that begins a character.
size_t ValidPrefix(absl::string_view bytes, const Lead& lead) {
  size_t length = 1;
  while (length < lead.length && length < bytes.size()) {
    const auto byte = static_cast<uint8_t>(bytes[length]);
    const uint8_t min = length == 1 ? lead.second_min : 0x80;
    const uint8_t max = length == 1 ? lead.second_max : 0xBF;
    if (byte < min || byte > max) break;
    ++length;
  }
  return length;
}

}  // namespace

size_t AppendUtf8(absl::string_view bytes, bool at_end, std::string& text) {
  size_t position = 0;
  while (position < bytes.size()) {
    const absl::string_view rest = bytes.substr(position);
    const Lead lead = LeadOf(static_cast<uint8_t>(rest[0]));
    const size_t length = ValidPrefix(rest, lead);
    if (lead.length > 0 && length == lead.length) {
      text.append(rest.data(), length);
    } else if (lead.length > 0 && length == rest.size() && !at_end) {
      return position;
    } else {
      text.append(kReplacement.data(), kReplacement.size());
    }
    position += length;
  }
  return position;
}

}  // namespace baton::models::text
