#include "router/text_stream.h"

#include <utility>

namespace baton::router {

TextStream::TextStream(const models::text::Tokenizer& tokenizer, StopScanner scanner,
                       bool skip_special, int32_t min_tokens)
    : tokenizer_(tokenizer),
      skip_special_(skip_special),
      decoder_(tokenizer, skip_special),
      scanner_(std::move(scanner)),
      min_tokens_(min_tokens) {}

TextStream::Pending TextStream::Waiting(const v1::Token& token) const {
  const bool hidden = skip_special_ && tokenizer_.IsSpecial(token.id());
  return {token, decoded_bytes_, !hidden && !tokenizer_.TokenBytes(token.id()).empty()};
}

TextStream::Piece TextStream::Push(const v1::Token& token) {
  pending_.push_back(Waiting(token));
  const std::string text = decoder_.Push(token.id());
  decoded_bytes_ += static_cast<int64_t>(text.size());
  if (++tokens_ < min_tokens_) return Release(text, false);
  return Release(scanner_.Push(text), false);
}

TextStream::Piece TextStream::Finish(const v1::Token* last) {
  const std::string tail = decoder_.Finish();
  decoded_bytes_ += static_cast<int64_t>(tail.size());
  std::string text = scanner_.Push(tail);
  text += scanner_.Finish();
  if (last != nullptr && !stopped()) pending_.push_back(Waiting(*last));
  return Release(std::move(text), !stopped());
}

TextStream::Piece TextStream::Release(std::string text, bool all) {
  shown_bytes_ += static_cast<int64_t>(text.size());
  Piece piece{std::move(text), {}};
  while (!pending_.empty()) {
    // A token without text of its own waits for the text before it only.
    const Pending& next = pending_.front();
    const int64_t needed = next.text_begin + (next.has_text ? 1 : 0);
    if (!all && needed > shown_bytes_) break;
    piece.tokens.push_back(std::move(pending_.front().token));
    pending_.pop_front();
  }
  if (stopped()) pending_.clear();
  return piece;
}

}  // namespace baton::router
