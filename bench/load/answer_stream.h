// One streamed answer of an OpenAI-compatible server: events in, a RequestRecord out.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "bench/load/request_record.h"
#include "bench/load/sse_parser.h"

namespace baton::bench {

// What counts as a token chunk: an event with a choice, except one that only announces the role
// before any text and one that only carries the finish reason after other chunks. Several tokens
// may share a chunk; then ITL is the gap between chunks.
class AnswerStream {
 public:
  // `record` must outlive the stream; its sent_s is set.
  explicit AnswerStream(RequestRecord& record) : record_(record) {}

  // Takes bytes of the body that arrived at `now_s`. An error: the server reported one, or the
  // bytes are no such stream.
  absl::Status Feed(absl::string_view bytes, double now_s);
  // The body is over. An error: it ended before the answer did.
  absl::Status Finish(double now_s);
  // [DONE] was seen.
  bool done() const { return done_; }

 private:
  absl::Status TakeEvent(const std::string& data, double now_s);
  void TakeTokenChunk(double now_s);

  RequestRecord& record_;
  SseParser parser_;
  int64_t token_chunks_ = 0;
  double last_chunk_s_ = 0;
  bool finished_ = false;
  bool done_ = false;
  bool has_usage_ = false;
};

}  // namespace baton::bench
