// A small synchronous HTTP client for the commands that talk to a server.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace baton::cli {

struct HttpReply {
  int status = 0;
  std::string body;
};

// `url` is "http://host[:port]" without a path. InvalidArgument for another form (https is not
// spoken), Unavailable when the server cannot be reached, DeadlineExceeded after `timeout` without
// a byte.
absl::StatusOr<HttpReply> HttpGet(const std::string& url, const std::string& path,
                                  absl::Duration timeout);

// POSTs JSON and calls `on_event` with the data of each server-sent event ("[DONE]" excluded) until
// it returns false or the stream ends. A reply that is not 200 is returned as an error with the
// server's message.
absl::Status HttpStream(const std::string& url, const std::string& path, const std::string& body,
                        absl::Duration timeout,
                        const std::function<bool(const std::string& data)>& on_event);

}  // namespace baton::cli
