// Sends ended requests as OpenTelemetry spans: OTLP over HTTP, JSON.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "router/metrics.h"
#include "router/request_log.h"

namespace baton::router {

// One span for the request and, below it, one for each phase of each of its sequences. Phases that
// came several times (after a failure) are one span. Thread-safe.
class SpanExporter {
 public:
  static constexpr size_t kQueueMax = 1024;  // requests; what comes beyond is dropped and counted

  struct Counters {
    Counter& exported;  // requests whose spans the collector took
    Counter& dropped;   // requests that found the queue full, or that the collector did not take
  };
  // `endpoint`: "http://host[:port]/path", as in http://127.0.0.1:4318/v1/traces. InvalidArgument
  // for another form. What `counters` refers to must outlive the exporter.
  static absl::StatusOr<std::unique_ptr<SpanExporter>> Start(absl::string_view endpoint,
                                                             Counters counters);
  // Drops what is still queued.
  ~SpanExporter();

  // Queues a request that has ended; never blocks.
  void Export(std::shared_ptr<const RequestRecord> record) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Endpoint {
    std::string host, port, path;
  };
  SpanExporter(Endpoint endpoint, Counters counters);
  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether the collector took it; at most two seconds.
  bool Post(const std::string& body) const;

  const Endpoint endpoint_;
  const Counters counters_;
  Mutex mutex_;
  CondVar wake_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<std::shared_ptr<const RequestRecord>> queue_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

// The body of one export (ExportTraceServiceRequest in OTLP's JSON encoding).
std::string SpansJson(const std::deque<std::shared_ptr<const RequestRecord>>& records);

}  // namespace baton::router
