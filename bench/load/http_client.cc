#include "bench/load/http_client.h"

#include <boost/beast/core/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::bench {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {
constexpr uint64_t kReplyLimitBytes = 64 << 20;
}

absl::Status HttpClient::StatusOf(absl::string_view what,
                                  const boost::system::error_code& error) const {
  const std::string message =
      absl::StrCat(what, " http://", target_.Authority(), ": ", error.message());
  if (error == beast::error::timeout) {
    return absl::DeadlineExceededError(
        absl::StrCat(message, " after ", absl::FormatDuration(timeout_)));
  }
  return absl::UnavailableError(message);
}

absl::StatusOr<asio::ip::tcp::resolver::results_type> HttpClient::Resolve() {
  if (!addresses_.has_value()) {
    boost::system::error_code error;
    asio::ip::tcp::resolver resolver(context_);
    auto found = resolver.resolve(target_.host, target_.port, error);
    if (error) return StatusOf("cannot resolve", error);
    addresses_ = std::move(found);
  }
  return *addresses_;
}

absl::Status HttpClient::Connect() {
  BATON_ASSIGN_OR_RETURN(const auto addresses, Resolve());
  stream_.emplace(context_);
  buffer_.clear();
  boost::system::error_code error;
  stream_->expires_after(absl::ToChronoNanoseconds(timeout_));
  stream_->async_connect(addresses,
                         [&error](boost::system::error_code e, const auto&) { error = e; });
  context_.restart();
  context_.run();
  if (error) {
    stream_.reset();
    return StatusOf("cannot connect to", error);
  }
  stream_->socket().set_option(asio::ip::tcp::no_delay(true), error);
  return absl::OkStatus();
}

absl::StatusOr<HttpReply> HttpClient::SendOnce(const HttpRequest& request) {
  if (!stream_.has_value()) BATON_RETURN_IF_ERROR(Connect());
  boost::system::error_code error;
  stream_->expires_after(absl::ToChronoNanoseconds(timeout_));
  http::async_write(*stream_, request,
                    [&error](boost::system::error_code e, size_t) { error = e; });
  context_.restart();
  context_.run();
  http::response_parser<http::string_body> parser;
  parser.body_limit(kReplyLimitBytes);
  if (!error) {
    http::async_read(*stream_, buffer_, parser,
                     [&error](boost::system::error_code e, size_t) { error = e; });
    context_.restart();
    context_.run();
  }
  if (error) {
    stream_.reset();
    return StatusOf("no reply from", error);
  }
  HttpReply reply{.status = static_cast<int>(parser.get().result_int()),
                  .body = std::move(parser.get().body())};
  if (!parser.get().keep_alive()) stream_.reset();
  return reply;
}

absl::StatusOr<HttpReply> HttpClient::Send(http::verb verb, const std::string& path,
                                           const std::string& body) {
  const HttpRequest request = MakeRequest(target_, verb, path, body);
  const bool reused = stream_.has_value();
  absl::StatusOr<HttpReply> reply = SendOnce(request);
  // The server may have closed an idle connection.
  if (!reply.ok() && reused && absl::IsUnavailable(reply.status())) return SendOnce(request);
  return reply;
}

}  // namespace baton::bench
