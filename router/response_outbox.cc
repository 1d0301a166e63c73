#include "router/response_outbox.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace baton::router {

Wakeup::Wakeup(Executor executor) : timer_(executor, Clock::time_point::max()) {}

void Wakeup::Notify() {
  notified_ = true;
  timer_.cancel();
}

boost::asio::awaitable<void, Executor> Wakeup::Wait() {
  if (!notified_) {
    boost::system::error_code cancelled;
    co_await timer_.async_wait(
        boost::asio::redirect_error(boost::asio::use_awaitable_t<Executor>{}, cancelled));
  }
  notified_ = false;
}

ResponseOutbox::ResponseOutbox(std::unique_ptr<AnswerWriter> writer, bool stream, size_t max_bytes,
                               Wakeup& wakeup, std::function<void()> on_overflow)
    : writer_(std::move(writer)),
      stream_(stream),
      max_bytes_(max_bytes),
      wakeup_(wakeup),
      on_overflow_(std::move(on_overflow)) {}

void ResponseOutbox::OnDelta(Delta delta) {
  started_ = true;
  writer_->Add(delta, &text_);
  if (!stream_) return;
  if (text_.size() > max_bytes_) {
    if (const auto on_overflow = std::exchange(on_overflow_, nullptr)) on_overflow();
  }
  wakeup_.Notify();
}

void ResponseOutbox::OnDone(const Outcome& outcome) {
  done_ = true;
  if (outcome.error && !(started_ && stream_)) {
    early_error_ = outcome.error;
  } else {
    writer_->End(outcome, &text_);
  }
  wakeup_.Notify();
}

std::string ResponseOutbox::TakeText() { return std::exchange(text_, {}); }

}  // namespace baton::router
