// One HTTP connection: requests one after another, each answered before the next is read.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "router/http_api.h"
#include "router/openai_api.h"
#include "router/request_flow.h"
#include "router/response_outbox.h"

namespace baton::router {

// Limits of a connection.
struct HttpLimits {
  uint32_t header_bytes = 16 * 1024;
  uint64_t body_bytes = 8 * 1024 * 1024;
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds idle_timeout{60'000};
  std::chrono::milliseconds body_timeout{10'000};  // without progress
  std::chrono::milliseconds body_total_timeout{120'000};
  std::chrono::milliseconds write_timeout{30'000};  // without progress
  size_t outbox_bytes =
      1 << 20;  // unsent text of a stream; more means that the client does not read
};

// Lives on the loop of its socket; all methods run there. Coroutines take what they need by value
// and keep the session alive by `self`.
class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, Executor>;
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  template <typename T>
  using Awaitable = boost::asio::awaitable<T, Executor>;

  // `router`, `api` and `connections` must outlive the session. `connections` is one lower after
  // its end.
  HttpSession(RouterContext& router, const HttpApi& api, const HttpLimits& limits, Socket socket,
              std::atomic<int64_t>& connections);
  ~HttpSession();

  void Start();
  // Cuts the connection; the request that it waits for is cancelled.
  void Close();

 private:
  using Clock = std::chrono::steady_clock;

  static Awaitable<void> Run(std::shared_ptr<HttpSession> self);
  // Each returns whether the connection goes on.
  Awaitable<bool> ServeOne();
  Awaitable<bool> ReadRequest(Parser& parser, ReplyHead& head);
  Awaitable<bool> Reply(HttpReply reply, ReplyHead head, bool head_only);
  Awaitable<bool> RefuseRead(boost::system::error_code error, ReplyHead head);
  Awaitable<bool> Generate(ApiRequest request, ReplyHead head, absl::Time arrived);
  Awaitable<bool> SendCollected(ResponseOutbox& outbox, ReplyHead head, ErrorForm errors);
  Awaitable<bool> SendStream(ResponseOutbox& outbox, ReplyHead head, ErrorForm errors);
  Awaitable<bool> Write(std::string text);
  // Runs `work` on a worker thread while the loop goes on. `work` owns what it touches. Pass a
  // named object: GCC 12 destroys a lambda with captures twice when it is a temporary of a co_await
  // expression.
  Awaitable<void> OnWorker(std::function<void()> work);
  Awaitable<std::variant<HttpReply, GenerationRoute>> Handle(HttpRequest& request);
  Awaitable<std::variant<ApiRequest, ApiError>> ParseGeneration(Dialect dialect, std::string body);

  // While a request is worked on, reads what comes: the end of the connection cancels the request,
  // bytes of a next request are kept.
  static Awaitable<void> WatchClient(std::shared_ptr<HttpSession> self);
  Awaitable<void> StopWatching();
  // After a refusal: reads and drops what the client still sends, so that it sees the answer and
  // not a reset.
  Awaitable<void> Linger();

  // Cuts the connection unless it is armed again, or disarmed, within `time`.
  void Arm(std::chrono::milliseconds time);
  void Disarm() { deadline_ = Clock::time_point::max(); }
  void ScheduleWatchdog();

  HttpRequest ToRequest(Parser& parser, const ReplyHead& head) const;

  RouterContext& router_;
  const HttpApi& api_;
  const HttpLimits limits_;
  Socket socket_;
  std::atomic<int64_t>& connections_;
  boost::beast::flat_buffer buffer_;
  boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, Executor> watchdog_;
  Clock::time_point deadline_ = Clock::time_point::max();
  bool watchdog_scheduled_ = false;

  Wakeup wakeup_;
  std::shared_ptr<RequestFlow> flow_;
  bool watching_ = false;
  bool stop_watching_ = false;
  bool client_gone_ = false;
};

}  // namespace baton::router
