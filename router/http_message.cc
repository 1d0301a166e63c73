#include "router/http_message.h"

#include <boost/beast/http/status.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace baton::router {
namespace {

constexpr size_t kMaxRequestIdBytes = 128;

absl::string_view Reason(int status) {
  const auto text =
      boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(status));
  return {text.data(), text.size()};
}

}  // namespace

HttpReply ErrorReply(const ApiError& error, ErrorForm form) {
  HttpReply reply;
  reply.status = error.http_status;
  reply.body = ErrorJson(error, form);
  if (error.retry_after_ms > 0) {
    reply.headers.emplace_back("retry-after", absl::StrCat((error.retry_after_ms + 999) / 1000));
    reply.headers.emplace_back("retry-after-ms", absl::StrCat(error.retry_after_ms));
  }
  return reply;
}

ApiError NoSuchRoute(absl::string_view path) {
  return {.http_status = 404,
          .type = "invalid_request_error",
          .message = absl::StrCat("Unknown route: ", path.substr(0, 256)),
          .code = "not_found"};
}

HttpReply MethodNotAllowed(absl::string_view allow) {
  HttpReply reply = ErrorReply({.http_status = 405,
                                .type = "invalid_request_error",
                                .message = absl::StrCat("This route takes ", allow, " only."),
                                .code = "method_not_allowed"});
  reply.headers.emplace_back("allow", std::string(allow));
  return reply;
}

ApiError UnsupportedMediaType() {
  return {.http_status = 415,
          .type = "invalid_request_error",
          .message = "The body must be sent as Content-Type: application/json.",
          .code = "unsupported_media_type"};
}

std::string HeaderText(const ReplyHead& head, absl::string_view content_type, int64_t body_bytes,
                       const std::vector<std::pair<std::string, std::string>>& headers) {
  std::string out = absl::StrCat("HTTP/1.", head.version % 10, " ", head.status, " ",
                                 Reason(head.status), "\r\ncontent-type: ", content_type, "\r\n");
  if (!head.trace.trace_id.empty()) {
    absl::StrAppend(&out, "traceparent: ", Traceparent(head.trace), "\r\n");
  }
  if (!head.request_id.empty()) absl::StrAppend(&out, "x-request-id: ", head.request_id, "\r\n");
  if (body_bytes >= 0) absl::StrAppend(&out, "content-length: ", body_bytes, "\r\n");
  for (const auto& [name, value] : headers) absl::StrAppend(&out, name, ": ", value, "\r\n");
  absl::StrAppend(&out, "connection: ", head.keep_alive ? "keep-alive" : "close", "\r\n\r\n");
  return out;
}

bool IsValidRequestId(absl::string_view id) {
  if (id.empty() || id.size() > kMaxRequestIdBytes) return false;
  for (const char c : id) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '_' && c != ':' && c != '-') return false;
  }
  return true;
}

std::string RequestIdOr(absl::string_view given, Rng& rng) {
  if (IsValidRequestId(given)) return std::string(given);
  return absl::StrFormat("req-%016x%016x", rng.Next(), rng.Next());
}

bool DecodePath(absl::string_view target, std::string* path) {
  target = target.substr(0, target.find_first_of("?#"));
  path->clear();
  for (size_t i = 0; i < target.size(); ++i) {
    char c = target[i];
    if (c == '%') {
      if (i + 2 >= target.size() || !absl::ascii_isxdigit(target[i + 1]) ||
          !absl::ascii_isxdigit(target[i + 2])) {
        return false;
      }
      c = absl::HexStringToBytes(target.substr(i + 1, 2))[0];
      i += 2;
    }
    if (absl::ascii_iscntrl(c)) return false;
    path->push_back(c);
  }
  return true;
}

}  // namespace baton::router
