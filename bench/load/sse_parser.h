// Server-sent events out of a byte stream that may be cut anywhere (HTML Living Standard,
// section 9.2).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace baton::bench {

class SseParser {
 public:
  static constexpr size_t kEventLimitBytes = 16 << 20;

  // Takes the next bytes and appends the data of every event that they complete to `events`.
  // Comments and other fields are ignored. ResourceExhausted: one event is larger than
  // kEventLimitBytes.
  absl::Status Feed(absl::string_view bytes, std::vector<std::string>& events);
  // The stream is over: an event that lacks only its final empty line counts.
  void Finish(std::vector<std::string>& events);

 private:
  void EndLine(std::vector<std::string>& events);

  std::string line_;
  std::string data_;
  bool has_data_ = false;
  bool after_carriage_return_ = false;
};

}  // namespace baton::bench
