// The parts of one answer, delta by delta, with what clients need to tell calls apart.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "router/api/turn_parser.h"
#include "router/generation.h"

namespace baton::router {

// How the answers of a request are read.
struct TurnReading {
  const TurnFormat* format = nullptr;  // null: everything is content
  bool tools = false;                  // calls are looked for
};

// One per answer. Not thread-safe.
class TurnReader {
 public:
  // `answer_id` is unique among requests, `choice` within one: ids of calls are made of them.
  TurnReader(const TurnReading& reading, const std::string& answer_id, int32_t choice)
      : reading_(reading), answer_id_(answer_id), choice_(choice) {}

  // The parts of this delta, calls with their ids; the last delta of the answer ends the turn.
  TurnParts Read(const Delta& delta);
  // Calls that have begun.
  int32_t calls() const { return calls_; }
  // Tokens of the deltas that brought nothing but reasoning.
  int64_t reasoning_tokens() const { return reasoning_tokens_; }

 private:
  std::string CallId() const;

  const TurnReading reading_;
  const std::string answer_id_;
  const int32_t choice_;
  std::unique_ptr<TurnParser> parser_;  // made with the first delta
  bool reasons_ = false;
  int32_t calls_ = 0;
  int64_t reasoning_tokens_ = 0;
};

}  // namespace baton::router
