// Answers in OpenAI's JSON: server-sent events while tokens come, or one object at the end.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "models/text/tokenizer.h"
#include "router/generation.h"
#include "router/openai_api.h"
#include "router/openai_logprobs.h"

namespace baton::router {

// What is the same in every object of one answer.
struct AnswerHead {
  std::string id;  // without its prefix
  std::string model;
  int64_t created_s = 0;
};

// Writes the events of a stream. Every object is written by hand: its constant parts are made once.
class AnswerStream {
 public:
  // `tokenizer` must outlive the writer.
  AnswerStream(const models::text::Tokenizer& tokenizer, const AnswerShape& shape,
               const AnswerHead& head);

  // One event. The first of a choice carries the role, together with the first token's text.
  void AppendDelta(const Delta& delta, std::string* out);
  // The end of the stream: the usage if it was asked for, or the error; then [DONE].
  void AppendEnd(const Outcome& outcome, std::string* out) const;

 private:
  const models::text::Tokenizer& tokenizer_;
  const AnswerShape shape_;
  std::string head_;                         // "data: {"id":...,"choices":["
  std::map<int32_t, int64_t> text_offsets_;  // by choice; a choice is here once it has begun
};

// Collects the answer of a request that is not streamed.
class AnswerCollector {
 public:
  AnswerCollector(const models::text::Tokenizer& tokenizer, const AnswerShape& shape,
                  const AnswerHead& head);

  void Add(const Delta& delta);
  // The whole response object.
  std::string Json(const Outcome& outcome) const;

 private:
  struct Choice {
    std::string text;
    LogprobsText logprobs;
    std::vector<int32_t> token_ids;
    int64_t text_offset = 0;
    v1::FinishReason finish = v1::FINISH_REASON_UNSPECIFIED;
    StopReason stop_reason;
  };
  const models::text::Tokenizer& tokenizer_;
  const AnswerShape shape_;
  const AnswerHead head_;
  std::map<int32_t, Choice> choices_;
};

}  // namespace baton::router
