// Between a request's tokens and its client's socket: text that waits to be sent, bounded.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "router/answer_writer.h"
#include "router/event_loops.h"

namespace baton::router {

// Lets a coroutine sleep until something has happened. One loop only.
class Wakeup {
 public:
  explicit Wakeup(Executor executor);
  void Notify();
  // Returns at once when Notify was called since the last Wait.
  boost::asio::awaitable<void, Executor> Wait();

 private:
  using Clock = std::chrono::steady_clock;
  boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, Executor> timer_;
  bool notified_ = false;
};

// The sink of one HTTP request. What comes while a write is under way goes out together with the
// next one. One loop only.
class ResponseOutbox final : public GenerationSink {
 public:
  // `wakeup` is notified of every change. `on_overflow` is called, once, when more than `max_bytes`
  // wait: the client does not read. Both must outlive the outbox.
  // `stream`: whether `writer` writes events.
  ResponseOutbox(std::unique_ptr<AnswerWriter> writer, bool stream, size_t max_bytes,
                 Wakeup& wakeup, std::function<void()> on_overflow);

  void OnDelta(Delta delta) override;
  void OnDone(const Outcome& outcome) override;

  bool done() const { return done_; }
  // Set when the request failed before its first token: it can still be answered by a status.
  const std::optional<ApiError>& early_error() const { return early_error_; }
  bool has_text() const { return !text_.empty(); }
  // Takes the events that wait (streams).
  std::string TakeText();
  // The whole answer. REQUIRES: done, not a stream, no early error.
  const std::string& body() const { return text_; }

 private:
  const std::unique_ptr<AnswerWriter> writer_;
  const bool stream_;
  const size_t max_bytes_;
  Wakeup& wakeup_;
  std::function<void()> on_overflow_;
  std::string text_;
  bool started_ = false;
  bool done_ = false;
  std::optional<ApiError> early_error_;
};

}  // namespace baton::router
