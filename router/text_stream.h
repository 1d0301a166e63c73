// From output tokens to the text that a client may see: detokenisation, then stop strings.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "models/text/incremental_decoder.h"
#include "proto/types.pb.h"
#include "router/stop_scanner.h"

namespace baton::router {

// One per answer. Not thread-safe.
class TextStream {
 public:
  // Before `min_tokens` tokens have come stop strings are not looked for. `tokenizer` must outlive
  // the stream.
  TextStream(const models::text::Tokenizer& tokenizer, StopScanner scanner, bool skip_special,
             int32_t min_tokens);

  // What became certain. A token is handed out with the first byte of its text, so that
  // log-probabilities never tell of text that is held back; tokens that lie behind a stop string
  // are never handed out.
  struct Piece {
    std::string text;
    std::vector<v1::Token> tokens;
  };

  Piece Push(const v1::Token& token);
  // The sequence ended with `last` (an end token, which has no text) or without one (nullptr).
  Piece Finish(const v1::Token* last);

  bool stopped() const { return scanner_.stopped(); }
  // REQUIRES: stopped().
  const std::string& matched() const { return scanner_.matched(); }

 private:
  struct Pending {
    v1::Token token;
    int64_t text_begin;  // offset of its text in the decoded stream
    bool has_text;       // false for control tokens, which have none
  };
  Piece Release(std::string text, bool all);

  Pending Waiting(const v1::Token& token) const;

  const models::text::Tokenizer& tokenizer_;
  const bool skip_special_;
  models::text::IncrementalDecoder decoder_;
  StopScanner scanner_;
  int32_t min_tokens_;
  int32_t tokens_ = 0;
  int64_t decoded_bytes_ = 0;
  int64_t shown_bytes_ = 0;
  std::deque<Pending> pending_;
};

}  // namespace baton::router
