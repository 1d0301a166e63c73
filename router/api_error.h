// What went wrong with a request, in the terms of the public APIs.
#pragma once

#include <grpcpp/support/status.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace baton::router {

// The four fields of OpenAI's error object, and the HTTP status that goes with them.
struct ApiError {
  int http_status = 500;
  std::string type = "server_error";
  std::string message;
  std::string param;           // empty: null on the wire
  std::string code;            // empty: null on the wire
  int64_t retry_after_ms = 0;  // > 0: the client may try again after this time
};

// 400: the caller's fault. `param` names the field as the caller wrote it.
ApiError InvalidParam(absl::string_view param, absl::string_view message,
                      absl::string_view code = "");
// 404: no such model.
ApiError UnknownModel(absl::string_view model);
// 429: everything that could take the request is full.
ApiError Full(absl::string_view message);
// 503: nobody is there to take the request, or this process is going away.
ApiError NotReady(absl::string_view message);
// 400: `prompt_tokens` do not fit `context_length` (which includes one token of output).
ApiError PromptTooLong(int64_t prompt_tokens, int64_t context_length);

// What a node's status means to a client. Messages of nodes may name addresses, so that only those
// of InvalidArgument, which speak about the request, go through; the others are replaced by a
// sentence about `what` failed.
ApiError FromNodeStatus(const absl::Status& status, absl::string_view what);

// How an error looks in JSON.
enum class ErrorForm : uint8_t {
  kOpenAi,     // {"error":{"message":...,"type":...,"param":...,"code":...}}
  kAnthropic,  // {"type":"error","error":{"type":...,"message":...}}
};
std::string ErrorJson(const ApiError& error, ErrorForm form = ErrorForm::kOpenAi);

// The same for the gRPC twin.
grpc::Status ToGrpcStatus(const ApiError& error);

}  // namespace baton::router
