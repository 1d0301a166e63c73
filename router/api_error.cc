#include "router/api_error.h"

#include "absl/strings/str_cat.h"
#include "router/json_text.h"

namespace baton::router {
namespace {

constexpr int64_t kFullRetryMs = 500;
constexpr int64_t kNotReadyRetryMs = 1000;

}  // namespace

ApiError InvalidParam(absl::string_view param, absl::string_view message, absl::string_view code) {
  return {.http_status = 400,
          .type = "invalid_request_error",
          .message = std::string(message),
          .param = std::string(param),
          .code = std::string(code)};
}

ApiError UnknownModel(absl::string_view model) {
  return {.http_status = 404,
          .type = "invalid_request_error",
          .message = absl::StrCat("The model `", model, "` does not exist."),
          .param = "model",
          .code = "model_not_found"};
}

ApiError Full(absl::string_view message) {
  return {.http_status = 429,
          .type = "rate_limit_error",
          .message = std::string(message),
          .code = "rate_limit_exceeded",
          .retry_after_ms = kFullRetryMs};
}

ApiError NotReady(absl::string_view message) {
  return {.http_status = 503,
          .type = "service_unavailable_error",
          .message = std::string(message),
          .code = "service_unavailable",
          .retry_after_ms = kNotReadyRetryMs};
}

ApiError PromptTooLong(int64_t prompt_tokens, int64_t context_length) {
  return InvalidParam("prompt",
                      absl::StrCat("This model's maximum context length is ", context_length,
                                   " tokens, at least one of them for the answer. Your prompt has ",
                                   prompt_tokens, " tokens."),
                      "context_length_exceeded");
}

ApiError FromNodeStatus(const absl::Status& status, absl::string_view what) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return InvalidParam("", std::string(status.message()));
    case absl::StatusCode::kResourceExhausted:
      return Full(absl::StrCat("Every ", what, " is full."));
    case absl::StatusCode::kDeadlineExceeded:
      return {.http_status = 504,
              .type = "timeout_error",
              .message = absl::StrCat("The ", what, " did not answer in time."),
              .code = "timeout"};
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAborted:
      return NotReady(absl::StrCat("The ", what, " that worked on this request went away."));
    default:
      return {.http_status = 500,
              .type = "server_error",
              .message = absl::StrCat("The ", what,
                                      " failed: ", absl::StatusCodeToString(status.code()), "."),
              .code = "internal_error"};
  }
}

namespace {

absl::string_view AnthropicType(int http_status) {
  switch (http_status) {
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return http_status < 500 ? "invalid_request_error" : "api_error";
  }
}

}  // namespace

std::string ErrorJson(const ApiError& error, ErrorForm form) {
  if (form == ErrorForm::kAnthropic) {
    std::string out = absl::StrCat("{\"type\":\"error\",\"error\":{\"type\":\"",
                                   AnthropicType(error.http_status), "\",\"message\":");
    AppendJsonString(error.message, &out);
    return out + "}}";
  }
  std::string out = "{\"error\":{\"message\":";
  AppendJsonString(error.message, &out);
  out += ",\"type\":";
  AppendJsonString(error.type, &out);
  out += ",\"param\":";
  if (error.param.empty()) {
    out += "null";
  } else {
    AppendJsonString(error.param, &out);
  }
  out += ",\"code\":";
  if (error.code.empty()) {
    out += "null";
  } else {
    AppendJsonString(error.code, &out);
  }
  out += "}}";
  return out;
}

grpc::Status ToGrpcStatus(const ApiError& error) {
  grpc::StatusCode code = grpc::StatusCode::INTERNAL;
  switch (error.http_status) {
    case 400:
      code = grpc::StatusCode::INVALID_ARGUMENT;
      break;
    case 404:
      code = grpc::StatusCode::NOT_FOUND;
      break;
    case 429:
      code = grpc::StatusCode::RESOURCE_EXHAUSTED;
      break;
    case 503:
      code = grpc::StatusCode::UNAVAILABLE;
      break;
    case 504:
      code = grpc::StatusCode::DEADLINE_EXCEEDED;
      break;
    default:
      break;
  }
  return {code, error.param.empty() ? error.message : error.param + ": " + error.message};
}

}  // namespace baton::router
