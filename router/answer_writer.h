// From what a request produces to the bytes that its client gets.
#pragma once

#include <cstdint>
#include <string>

#include "router/generation.h"

namespace baton::router {

// What is the same in every object of one answer.
struct AnswerHead {
  std::string id;  // without its prefix
  std::string model;
  int64_t created_s = 0;
};

// Writes one answer in the words of one API, as server-sent events or as one object.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  // Appends the events that `delta` makes; nothing where the answer is one object.
  virtual void Add(const Delta& delta, std::string* out) = 0;
  // Appends what ends the stream, an error among it, or the whole object. An answer of one object
  // does not end with an error: that is a reply of its own.
  virtual void End(const Outcome& outcome, std::string* out) = 0;
};

}  // namespace baton::router
