// One plain HTTP request after another, for what is asked before the run: models and tokenization.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/load/http_target.h"

namespace baton::bench {

struct HttpReply {
  int status = 0;
  std::string body;
};

// Blocking; keeps one connection. Not thread-safe.
class HttpClient {
 public:
  // `target` is copied. `timeout` is for one whole request.
  HttpClient(HttpTarget target, absl::Duration timeout)
      : target_(std::move(target)), timeout_(timeout) {}

  // Any HTTP status is a reply. Unavailable: no connection, or it broke. DeadlineExceeded: no reply
  // in time.
  absl::StatusOr<HttpReply> Send(boost::beast::http::verb verb, const std::string& path,
                                 const std::string& body);

  // The addresses of the host. Unavailable: the name has none.
  absl::StatusOr<boost::asio::ip::tcp::resolver::results_type> Resolve();

 private:
  absl::StatusOr<HttpReply> SendOnce(const HttpRequest& request);
  absl::Status Connect();
  absl::Status StatusOf(absl::string_view what, const boost::system::error_code& error) const;

  HttpTarget target_;
  absl::Duration timeout_;
  boost::asio::io_context context_;
  std::optional<boost::asio::ip::tcp::resolver::results_type> addresses_;
  std::optional<boost::beast::tcp_stream> stream_;
  boost::beast::flat_buffer buffer_;
};

}  // namespace baton::bench
