// The requests that run and the latest that ended, for GET /debug/requests and /debug/trace.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "router/timeline.h"
#include "router/trace_context.h"

namespace baton::router {

// One answer of a request.
struct SequenceRecord {
  int32_t choice = 0;
  std::string state;  // "running", "stop", "length", "error", "cancelled"
  std::string prefill_node;
  std::string decode_node;
  int32_t output_tokens = 0;
  int32_t cached_tokens = 0;
  int32_t retries = 0;
  Timeline timeline;
};

// One request. No text and no token of it: lengths, names and times only. Thread-safe.
class RequestRecord {
 public:
  // `arrived` on the router's clock, `arrived_wall` the same moment since 1970.
  RequestRecord(std::string id, TraceContext trace, absl::Time arrived, absl::Time arrived_wall)
      : id_(std::move(id)),
        trace_(std::move(trace)),
        arrived_(arrived),
        arrived_wall_(arrived_wall) {}

  struct Contents {
    std::string state = "running";  // then "ok", "cancelled" or an error's code
    int64_t prompt_tokens = 0;
    absl::Duration took;  // zero while it runs
    std::vector<SequenceRecord> sequences;
  };
  const std::string& id() const { return id_; }
  const TraceContext& trace() const { return trace_; }
  absl::Time arrived() const { return arrived_; }
  absl::Time arrived_wall() const { return arrived_wall_; }

  void SetPromptTokens(int64_t tokens) ABSL_LOCKS_EXCLUDED(mutex_);
  // Takes the place of what was known of the same choice.
  void Update(const SequenceRecord& sequence) ABSL_LOCKS_EXCLUDED(mutex_);
  void Finish(std::string state, absl::Duration took) ABSL_LOCKS_EXCLUDED(mutex_);
  Contents contents() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const std::string id_;
  const TraceContext trace_;
  const absl::Time arrived_;
  const absl::Time arrived_wall_;
  mutable Mutex mutex_;
  Contents contents_ ABSL_GUARDED_BY(mutex_);
};

// Thread-safe.
class RequestLog {
 public:
  static constexpr size_t kEnded = 256;  // requests that are remembered after their end

  explicit RequestLog(const Clock& clock) : clock_(clock) {}

  // Called for each request when it has ended, on its thread. Set before the first one starts.
  void SetOnEnded(std::function<void(std::shared_ptr<const RequestRecord>)> on_ended) {
    on_ended_ = std::move(on_ended);
  }

  std::shared_ptr<RequestRecord> Start(std::string id, TraceContext trace, absl::Time arrived)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Finish(const std::shared_ptr<RequestRecord>& record, std::string state)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // {"running": [...], "ended": [...]}, the latest last.
  std::string Json() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The ended requests as a trace in the JSON format that Perfetto and chrome://tracing read: one
  // track a sequence, one slice a phase. A phase that came several times is one slice.
  std::string TraceJson() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const Clock& clock_;
  std::function<void(std::shared_ptr<const RequestRecord>)> on_ended_;
  mutable Mutex mutex_;
  std::set<std::shared_ptr<RequestRecord>> running_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<RequestRecord>> ended_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace baton::router
