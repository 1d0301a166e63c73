#include "router/trace_context.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace baton::router {
namespace {

constexpr size_t kTraceIdDigits = 32;
constexpr size_t kSpanIdDigits = 16;

bool IsHex(absl::string_view text, size_t digits) {
  return text.size() == digits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool IsZero(absl::string_view id) {
  return std::all_of(id.begin(), id.end(), [](char c) { return c == '0'; });
}

std::string SpanId(Rng& rng) { return absl::StrFormat("%016x", rng.Next() | 1); }

}  // namespace

TraceContext StartTrace(absl::string_view traceparent, Rng& rng) {
  TraceContext trace;
  trace.span_id = SpanId(rng);
  const std::vector<absl::string_view> parts = absl::StrSplit(traceparent, '-');
  // Later versions may add fields; version ff is forbidden.
  const bool known = parts.size() >= 4 && IsHex(parts[0], 2) && parts[0] != "ff" &&
                     (parts.size() == 4 || parts[0] != "00");
  if (known && IsHex(parts[1], kTraceIdDigits) && !IsZero(parts[1]) &&
      IsHex(parts[2], kSpanIdDigits) && !IsZero(parts[2]) && IsHex(parts[3], 2)) {
    trace.trace_id = std::string(parts[1]);
    trace.parent_span_id = std::string(parts[2]);
    const char low = parts[3][1];
    trace.sampled = ((low <= '9' ? low - '0' : low - 'a' + 10) & 1) != 0;
    return trace;
  }
  trace.trace_id = absl::StrFormat("%016x%016x", rng.Next() | 1, rng.Next());
  return trace;
}

std::string Traceparent(const TraceContext& trace) {
  return absl::StrCat("00-", trace.trace_id, "-", trace.span_id, trace.sampled ? "-01" : "-00");
}

}  // namespace baton::router
