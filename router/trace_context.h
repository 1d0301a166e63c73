// W3C trace context: which trace a request belongs to.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "base/rng.h"

namespace baton::router {

// Identifiers in lower-case hexadecimal, as on the wire.
struct TraceContext {
  std::string trace_id;        // 32 digits; empty: no trace
  std::string parent_span_id;  // 16 digits; empty: this request begins the trace
  std::string span_id;         // 16 digits: of the request at this router
  bool sampled = true;
};

// Goes on with the trace of a `traceparent` header ("00-<trace id>-<parent id>-<flags>"), or begins
// one where the header is absent or malformed. `rng` must be thread-safe where callers are.
TraceContext StartTrace(absl::string_view traceparent, Rng& rng);

// The header for what this request calls, and for its answer.
std::string Traceparent(const TraceContext& trace);

}  // namespace baton::router
