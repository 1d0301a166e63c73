// HTTP requests and replies as the API sees them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "router/api_error.h"
#include "router/trace_context.h"

namespace baton::router {

struct HttpRequest {
  std::string method;  // "GET"; HEAD reads as GET
  std::string path;    // percent-decoded, without the query
  std::string content_type;
  std::string request_id;  // X-Request-Id where it is well formed, otherwise a fresh one
  std::string body;
};

struct HttpReply {
  int status = 200;
  std::string body;
  absl::string_view content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;  // beside those that every reply has
};

// The reply that tells of an error, with Retry-After where it may help.
HttpReply ErrorReply(const ApiError& error, ErrorForm form = ErrorForm::kOpenAi);
// 404 for a path, 405 with Allow for a method, 415 for a content type.
ApiError NoSuchRoute(absl::string_view path);
HttpReply MethodNotAllowed(absl::string_view allow);
ApiError UnsupportedMediaType();

// What stands at the head of every reply.
struct ReplyHead {
  int status = 200;
  bool keep_alive = true;
  int version = 11;        // 10 or 11
  std::string request_id;  // empty: left out
  TraceContext trace;      // without a trace id: left out
};

// The status line and headers up to the empty line; `body_bytes` < 0: no Content-Length (a stream).
std::string HeaderText(const ReplyHead& head, absl::string_view content_type, int64_t body_bytes,
                       const std::vector<std::pair<std::string, std::string>>& headers);

// 1 to 128 characters of [A-Za-z0-9._:-]: fit for logs and headers.
bool IsValidRequestId(absl::string_view id);
// The id that a request came with, where it is valid, else a new one.
std::string RequestIdOr(absl::string_view given, Rng& rng);

// Percent-decodes the path of a request target and cuts its query off. False for a broken escape or
// a control character.
bool DecodePath(absl::string_view target, std::string* path);

}  // namespace baton::router
