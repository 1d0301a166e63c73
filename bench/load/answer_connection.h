// One HTTP/1.1 connection that carries streamed answers.
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "bench/load/answer_stream.h"
#include "bench/load/http_target.h"
#include "bench/load/request_record.h"

namespace baton::bench {

using RunClock = std::chrono::steady_clock;

// Used by one coroutine at a time, on the thread of its io_context.
class AnswerConnection {
 public:
  struct Outcome {
    absl::Status status;     // OK: the answer is complete
    bool got_bytes = false;  // the server had begun to answer
    bool reusable = false;   // the connection can carry another request
  };

  // Times in records are relative to `start`.
  AnswerConnection(boost::asio::io_context& context, RunClock::time_point start)
      : stream_(context), start_(start) {}

  boost::asio::awaitable<absl::Status> Connect(
      boost::asio::ip::tcp::resolver::results_type addresses, RunClock::time_point deadline);
  // Sends `request` and reads its answer into `record`. Both must live until it returns.
  boost::asio::awaitable<Outcome> Exchange(const HttpRequest& request, RequestRecord* record,
                                           RunClock::time_point deadline);

 private:
  using Parser = boost::beast::http::response_parser<boost::beast::http::buffer_body>;

  double NowS() const { return std::chrono::duration<double>(RunClock::now() - start_).count(); }
  boost::asio::awaitable<absl::Status> ReadAnswer(Parser* parser, AnswerStream* answer);
  boost::asio::awaitable<absl::Status> ReadRefusal(Parser* parser);
  // Reads some of the body into chunk_; `bytes` receives how much.
  boost::asio::awaitable<boost::system::error_code> ReadSome(Parser* parser, size_t* bytes);

  boost::beast::tcp_stream stream_;
  boost::beast::flat_buffer buffer_;
  std::array<char, 16384> chunk_;
  RunClock::time_point start_;
};

}  // namespace baton::bench
