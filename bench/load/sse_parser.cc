#include "bench/load/sse_parser.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace baton::bench {

absl::Status SseParser::Feed(absl::string_view bytes, std::vector<std::string>& events) {
  for (const char c : bytes) {
    const bool second_half_of_crlf = after_carriage_return_ && c == '\n';
    after_carriage_return_ = c == '\r';
    if (second_half_of_crlf) continue;
    if (c == '\r' || c == '\n') {
      EndLine(events);
    } else {
      line_.push_back(c);
    }
  }
  if (line_.size() + data_.size() > kEventLimitBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("an event of the stream is larger than ", kEventLimitBytes, " bytes"));
  }
  return absl::OkStatus();
}

void SseParser::Finish(std::vector<std::string>& events) {
  if (!line_.empty()) EndLine(events);
  EndLine(events);
}

void SseParser::EndLine(std::vector<std::string>& events) {
  const std::string line = std::exchange(line_, {});
  if (line.empty()) {
    if (has_data_) events.push_back(std::exchange(data_, {}));
    data_.clear();
    has_data_ = false;
    return;
  }
  const size_t colon = line.find(':');
  if (line.substr(0, colon) != "data") return;
  size_t begin = colon == std::string::npos ? line.size() : colon + 1;
  if (begin < line.size() && line[begin] == ' ') ++begin;
  if (has_data_) data_.push_back('\n');
  data_.append(line, begin);
  has_data_ = true;
}

}  // namespace baton::bench
