// Answers in OpenAI's JSON: server-sent events while tokens come, or one object at the end.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "models/text/tokenizer.h"
#include "router/answer_writer.h"
#include "router/api/turn_reader.h"
#include "router/generation.h"
#include "router/openai_api.h"
#include "router/openai_logprobs.h"

namespace baton::router {

// Writes the events of a stream. Every object is written by hand: its constant parts are made once.
class AnswerStream final : public AnswerWriter {
 public:
  // `tokenizer` and what `reading` names must outlive the writer. Completions are never read as
  // turns.
  AnswerStream(const models::text::Tokenizer& tokenizer, const AnswerShape& shape,
               const AnswerHead& head, const TurnReading& reading = {});

  // One event. The first of a choice carries the role, together with the first token's text.
  void Add(const Delta& delta, std::string* out) override;
  // The end of the stream: the usage if it was asked for, or the error; then [DONE].
  void End(const Outcome& outcome, std::string* out) override;

 private:
  struct Choice {
    TurnReader turn;
    int64_t text_offset = 0;
  };
  void AppendDelta(const Delta& delta, bool first, Choice* choice, std::string* out);

  const models::text::Tokenizer& tokenizer_;
  const AnswerShape shape_;
  const std::string id_;
  const TurnReading reading_;
  std::string head_;                   // "data: {"id":...,"choices":["
  std::map<int32_t, Choice> choices_;  // a choice is here once it has begun
};

// Collects the answer of a request that is not streamed.
class AnswerCollector final : public AnswerWriter {
 public:
  AnswerCollector(const models::text::Tokenizer& tokenizer, const AnswerShape& shape,
                  const AnswerHead& head, const TurnReading& reading = {});

  void Add(const Delta& delta, std::string* out) override;
  // The whole response object.
  void End(const Outcome& outcome, std::string* out) override;

 private:
  struct Call {
    std::string id, name, arguments;
  };
  struct Choice {
    TurnReader turn;
    std::string text;
    std::string reasoning;
    std::vector<Call> calls;
    LogprobsText logprobs;
    std::vector<int32_t> token_ids;
    std::shared_ptr<const std::vector<int32_t>> prompt;  // where token ids are asked for
    std::shared_ptr<const std::vector<v1::PromptToken>> prompt_scores;  // where they are told
    int64_t text_offset = 0;
    v1::FinishReason finish = v1::FINISH_REASON_UNSPECIFIED;
    StopReason stop_reason;
  };
  void AppendMessage(const Choice& choice, std::string* out) const;
  void AppendScores(const Choice& choice, std::string* out) const;

  const models::text::Tokenizer& tokenizer_;
  const AnswerShape shape_;
  const AnswerHead head_;
  const TurnReading reading_;
  std::map<int32_t, Choice> choices_;
};

}  // namespace baton::router
