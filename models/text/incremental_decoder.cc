#include "models/text/incremental_decoder.h"

#include "models/text/utf8.h"

namespace baton::models::text {

std::string IncrementalDecoder::Push(int32_t id) {
  std::string text;
  if (skip_special_ && tokenizer_.IsSpecial(id)) return text;
  pending_ += tokenizer_.TokenBytes(id);
  pending_.erase(0, AppendUtf8(pending_, /*at_end=*/false, text));
  return text;
}

std::string IncrementalDecoder::Finish() {
  std::string text;
  AppendUtf8(pending_, /*at_end=*/true, text);
  pending_.clear();
  return text;
}

}  // namespace baton::models::text
