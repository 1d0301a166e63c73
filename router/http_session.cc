// Reading requests and writing replies. Generation is in http_generation.cc.
#include "router/http_session.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "router/api/dialects.h"

namespace baton::router {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr asio::use_awaitable_t<Executor> kAwait;
constexpr size_t kMaxBufferBytes = 128 * 1024;
constexpr std::chrono::seconds kLingerTime{2};

absl::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

HttpSession::HttpSession(RouterContext& router, const HttpApi& api, const HttpLimits& limits,
                         Socket socket, std::atomic<int64_t>& connections)
    : router_(router),
      api_(api),
      limits_(limits),
      socket_(std::move(socket)),
      connections_(connections),
      buffer_(kMaxBufferBytes),
      watchdog_(socket_.get_executor()),
      wakeup_(socket_.get_executor()) {
  connections_.fetch_add(1);
}

HttpSession::~HttpSession() { connections_.fetch_sub(1); }

void HttpSession::Start() {
  asio::co_spawn(socket_.get_executor(), Run(shared_from_this()), asio::detached);
}

void HttpSession::Close() {
  error_code ignored;
  socket_.close(ignored);
}

HttpSession::Awaitable<void> HttpSession::Run(std::shared_ptr<HttpSession> self) {
  error_code ignored;
  self->socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  // A client that does not read is noticed after this much, not after what the kernel would grow
  // to.
  self->socket_.set_option(asio::socket_base::send_buffer_size(256 * 1024), ignored);
  while (self->socket_.is_open()) {
    const bool goes_on = co_await self->ServeOne();
    if (!goes_on) break;
  }
  self->Disarm();
  self->watchdog_.cancel();
  self->socket_.shutdown(asio::socket_base::shutdown_both, ignored);
  self->Close();
}

HttpSession::Awaitable<bool> HttpSession::ServeOne() {
  Parser parser;
  parser.header_limit(limits_.header_bytes);
  parser.body_limit(limits_.body_bytes);
  ReplyHead head;
  const bool read = co_await ReadRequest(parser, head);
  if (!read) co_return false;
  const bool head_only = parser.get().method() == http::verb::head;
  HttpRequest request = ToRequest(parser, head);
  const absl::Time arrived = router_.clock.Now();
  std::string path;
  if (!DecodePath(View(parser.get().target()), &path)) {
    co_return co_await Reply(ErrorReply(InvalidParam("", "The request target is malformed.")), head,
                             head_only);
  }
  request.path = std::move(path);
  std::variant<HttpReply, GenerationRoute> handled = co_await Handle(request);
  if (HttpReply* reply = std::get_if<HttpReply>(&handled)) {
    co_return co_await Reply(std::move(*reply), head, head_only);
  }
  const Dialect dialect = std::get<GenerationRoute>(handled).dialect;
  std::variant<ApiRequest, ApiError> parsed =
      co_await ParseGeneration(dialect, std::move(request.body));
  if (ApiError* error = std::get_if<ApiError>(&parsed)) {
    router_.metrics.requests[static_cast<size_t>(RequestResult::kRefused)].Add();
    co_return co_await Reply(ErrorReply(*error, ErrorFormOf(dialect)), head, false);
  }
  ApiRequest& generation = std::get<ApiRequest>(parsed);
  generation.generation.request_id = head.request_id;
  generation.generation.trace = head.trace;
  co_return co_await Generate(std::move(generation), head, arrived);
}

HttpRequest HttpSession::ToRequest(Parser& parser, const ReplyHead& head) const {
  auto& message = parser.get();
  HttpRequest request;
  request.method =
      message.method() == http::verb::head ? "GET" : std::string(message.method_string());
  request.content_type = std::string(message[http::field::content_type]);
  request.request_id = head.request_id;
  request.body = std::move(message.body());
  return request;
}

HttpSession::Awaitable<bool> HttpSession::ReadRequest(Parser& parser, ReplyHead& head) {
  error_code error;
  if (buffer_.size() == 0) {
    Arm(limits_.idle_timeout);
    const size_t bytes = co_await socket_.async_read_some(buffer_.prepare(4096),
                                                          asio::redirect_error(kAwait, error));
    if (error) co_return false;
    buffer_.commit(bytes);
  }
  Arm(limits_.header_timeout);
  co_await http::async_read_header(socket_, buffer_, parser, asio::redirect_error(kAwait, error));
  auto& message = parser.get();
  head.version = message.version() == 10 ? 10 : 11;
  head.request_id = RequestIdOr(View(message["x-request-id"]), router_.rng);
  head.trace = StartTrace(View(message["traceparent"]), router_.rng);
  if (error) co_return co_await RefuseRead(error, head);
  head.keep_alive = message.keep_alive() && !router_.admission.draining();
  if (absl::EqualsIgnoreCase(View(message[http::field::expect]), "100-continue") &&
      !parser.is_done()) {
    const bool written = co_await Write("HTTP/1.1 100 Continue\r\n\r\n");
    if (!written) co_return false;
  }
  const Clock::time_point latest = Clock::now() + limits_.body_total_timeout;
  while (!parser.is_done()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(latest - Clock::now());
    Arm(std::min(limits_.body_timeout, left));
    co_await http::async_read_some(socket_, buffer_, parser, asio::redirect_error(kAwait, error));
    if (error) co_return co_await RefuseRead(error, head);
  }
  Disarm();
  co_return true;
}

HttpSession::Awaitable<bool> HttpSession::RefuseRead(error_code error, ReplyHead head) {
  const bool parse_error = error.category() == make_error_code(http::error::bad_method).category();
  // The client left, or was too slow and has been cut off: nobody reads an answer.
  if (!parse_error || error == http::error::end_of_stream ||
      error == http::error::partial_message) {
    co_return false;
  }
  ApiError refusal = InvalidParam("", "The request is not valid HTTP/1.1.", "bad_request");
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    refusal.http_status = 431;
    refusal.message =
        absl::StrFormat("The request header is larger than %d bytes.", limits_.header_bytes);
    refusal.code = "header_too_large";
  } else if (error == http::error::body_limit) {
    refusal.http_status = 413;
    refusal.message = absl::StrFormat("The body is larger than %d bytes.", limits_.body_bytes);
    refusal.code = "body_too_large";
  }
  head.keep_alive = false;
  co_await Reply(ErrorReply(refusal), head, false);
  co_await Linger();
  co_return false;
}

HttpSession::Awaitable<bool> HttpSession::Reply(HttpReply reply, ReplyHead head, bool head_only) {
  head.status = reply.status;
  head.keep_alive = head.keep_alive && !router_.admission.draining();
  std::string text =
      HeaderText(head, reply.content_type, static_cast<int64_t>(reply.body.size()), reply.headers);
  if (!head_only) text += reply.body;
  const bool written = co_await Write(std::move(text));
  co_return written&& head.keep_alive;
}

HttpSession::Awaitable<bool> HttpSession::Write(std::string text) {
  error_code error;
  size_t sent = 0;
  while (sent < text.size()) {
    Arm(limits_.write_timeout);
    sent += co_await socket_.async_write_some(asio::buffer(text.data() + sent, text.size() - sent),
                                              asio::redirect_error(kAwait, error));
    if (error) co_return false;
  }
  Disarm();
  co_return true;
}

HttpSession::Awaitable<void> HttpSession::Linger() {
  error_code error;
  socket_.shutdown(asio::socket_base::shutdown_send, error);
  Arm(std::chrono::duration_cast<std::chrono::milliseconds>(kLingerTime));
  buffer_.clear();
  while (!error) {
    co_await socket_.async_read_some(buffer_.prepare(64 * 1024),
                                     asio::redirect_error(kAwait, error));
  }
}

void HttpSession::Arm(std::chrono::milliseconds time) {
  deadline_ = Clock::now() + time;
  if (watchdog_scheduled_ && watchdog_.expiry() <= deadline_) return;
  ScheduleWatchdog();
}

void HttpSession::ScheduleWatchdog() {
  watchdog_scheduled_ = true;
  watchdog_.expires_at(deadline_);
  // Moved to a later time without touching the timer; when it fires it looks at the deadline of
  // that moment.
  watchdog_.async_wait([self = shared_from_this()](const error_code& error) {
    if (error) return;
    self->watchdog_scheduled_ = false;
    if (self->deadline_ == Clock::time_point::max()) return;
    if (Clock::now() >= self->deadline_) {
      self->Close();
    } else {
      self->ScheduleWatchdog();
    }
  });
}

}  // namespace baton::router
