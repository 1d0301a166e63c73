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

ResponseOutbox::ResponseOutbox(const models::text::Tokenizer& tokenizer, const AnswerShape& shape,
                               const AnswerHead& head, size_t max_bytes, Wakeup& wakeup,
                               std::function<void()> on_overflow)
    : shape_(shape),
      stream_(tokenizer, shape, head),
      collector_(tokenizer, shape, head),
      max_bytes_(max_bytes),
      wakeup_(wakeup),
      on_overflow_(std::move(on_overflow)) {}

void ResponseOutbox::OnDelta(Delta delta) {
  started_ = true;
  if (!shape_.stream) {
    collector_.Add(delta);
    return;
  }
  stream_.AppendDelta(delta, &text_);
  if (text_.size() > max_bytes_) {
    if (const auto on_overflow = std::exchange(on_overflow_, nullptr)) on_overflow();
  }
  wakeup_.Notify();
}

void ResponseOutbox::OnDone(const Outcome& outcome) {
  done_ = true;
  if (outcome.error && !(started_ && shape_.stream)) {
    early_error_ = outcome.error;
  } else if (shape_.stream) {
    stream_.AppendEnd(outcome, &text_);
  } else {
    text_ = collector_.Json(outcome);
  }
  wakeup_.Notify();
}

std::string ResponseOutbox::TakeText() { return std::exchange(text_, {}); }

}  // namespace baton::router
