#include "models/text/abi_results.h"

#include "absl/strings/str_cat.h"

namespace baton::models::text {

BatonBytes View(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string TakeString(BatonBuffer buffer) {
  std::string text(reinterpret_cast<const char*>(buffer.data), buffer.size);
  baton_buffer_free(buffer);
  return text;
}

absl::Status TakeError(BatonTextCode code, absl::string_view context, BatonBuffer buffer) {
  const std::string message = absl::StrCat(context, TakeString(buffer));
  switch (code) {
    case BATON_TEXT_INVALID_ARGUMENT:
      return absl::InvalidArgumentError(message);
    case BATON_TEXT_FAILED_PRECONDITION:
      return absl::FailedPreconditionError(message);
    case BATON_TEXT_RESOURCE_EXHAUSTED:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace baton::models::text
