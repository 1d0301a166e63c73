#include "bench/load/answer_connection.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>

#include "absl/strings/str_cat.h"

namespace baton::bench {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
constexpr auto kWait = asio::as_tuple(asio::use_awaitable);

constexpr size_t kRefusalLimitBytes = 2000;
// After [DONE] only the end of the body is missing; a server that does not send it loses the
// connection.
constexpr std::chrono::seconds kAfterDone(1);

absl::Status Broken(absl::string_view what, const boost::system::error_code& error) {
  const std::string message = absl::StrCat(what, ": ", error.message());
  if (error == beast::error::timeout) return absl::DeadlineExceededError(message);
  return absl::UnavailableError(message);
}

}  // namespace

asio::awaitable<absl::Status> AnswerConnection::Connect(
    asio::ip::tcp::resolver::results_type addresses, RunClock::time_point deadline) {
  stream_.expires_at(deadline);
  auto [error, endpoint] = co_await stream_.async_connect(addresses, kWait);
  if (error) co_return Broken("cannot connect", error);
  boost::system::error_code ignored;
  stream_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
  co_return absl::OkStatus();
}

asio::awaitable<AnswerConnection::Outcome> AnswerConnection::Exchange(
    const HttpRequest& request, RequestRecord* record, RunClock::time_point deadline) {
  Outcome outcome;
  stream_.expires_at(deadline);
  auto [write_error, written] = co_await http::async_write(stream_, request, kWait);
  if (write_error) {
    outcome.status = Broken("cannot send the request", write_error);
    co_return outcome;
  }
  Parser parser;
  parser.body_limit(boost::none);
  parser.header_limit(64 << 10);
  auto [header_error, header_bytes] =
      co_await http::async_read_header(stream_, buffer_, parser, kWait);
  outcome.got_bytes = header_bytes > 0;
  if (header_error) {
    outcome.status = Broken("no answer", header_error);
    co_return outcome;
  }
  if (parser.get().result() != http::status::ok) {
    outcome.status = co_await ReadRefusal(&parser);
  } else {
    AnswerStream answer(*record);
    outcome.status = co_await ReadAnswer(&parser, &answer);
    // The server's own error in the stream leaves the rest of the body unread.
    if (outcome.status.ok()) outcome.status = answer.Finish(NowS());
  }
  outcome.reusable = parser.is_done() && parser.keep_alive();
  co_return outcome;
}

asio::awaitable<boost::system::error_code> AnswerConnection::ReadSome(Parser* parser,
                                                                      size_t* bytes) {
  auto& body = parser->get().body();
  body.data = chunk_.data();
  body.size = chunk_.size();
  body.more = true;
  auto [error, consumed] = co_await http::async_read_some(stream_, buffer_, *parser, kWait);
  *bytes = chunk_.size() - body.size;
  co_return error == http::error::need_buffer ? boost::system::error_code() : error;
}

asio::awaitable<absl::Status> AnswerConnection::ReadAnswer(Parser* parser, AnswerStream* answer) {
  bool closing = false;
  while (!parser->is_done()) {
    size_t bytes = 0;
    const boost::system::error_code error = co_await ReadSome(parser, &bytes);
    const absl::Status status = answer->Feed(absl::string_view(chunk_.data(), bytes), NowS());
    if (!status.ok()) co_return status;
    if (error) {
      co_return answer->done() ? absl::OkStatus() : Broken("the answer broke off", error);
    }
    if (answer->done() && !closing) {
      closing = true;
      stream_.expires_after(kAfterDone);
    }
  }
  co_return absl::OkStatus();
}

asio::awaitable<absl::Status> AnswerConnection::ReadRefusal(Parser* parser) {
  std::string text;
  while (!parser->is_done() && text.size() < kRefusalLimitBytes) {
    size_t bytes = 0;
    const boost::system::error_code error = co_await ReadSome(parser, &bytes);
    text.append(chunk_.data(), bytes);
    if (error) break;
  }
  text.resize(std::min(text.size(), kRefusalLimitBytes));
  co_return absl::UnavailableError(absl::StrCat("HTTP ", parser->get().result_int(), ": ", text));
}

}  // namespace baton::bench
