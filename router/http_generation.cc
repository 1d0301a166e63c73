// HttpSession: requests that generate.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "absl/strings/str_format.h"
#include "router/api/dialects.h"
#include "router/http_session.h"

namespace baton::router {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr asio::use_awaitable_t<Executor> kAwait;
// Longer bodies are parsed on a worker thread, so that other connections of the loop go on.
constexpr size_t kInlineBodyBytes = 32 * 1024;
// Bytes of a next request that are kept while one is answered.
constexpr size_t kMaxEarlyBytes = 64 * 1024;

// The flow must not outlive its sink, however the coroutine ends.
struct CancelAtEnd {
  std::shared_ptr<RequestFlow>& flow;
  ~CancelAtEnd() {
    if (flow) flow->Cancel();
  }
};

std::variant<ApiRequest, ApiError> Parse(const RouterContext& router, Dialect dialect,
                                         const std::string& text) {
  Json body;
  ApiRequest request;
  auto error = ParseBody(text, &body);
  if (!error) error = ParseRequest(dialect, body, router.tokenizer.vocab_size(), &request);
  if (!error) error = ApplyTurnFormat(router.turn_format, router.tokenizer, &request);
  if (error) return *std::move(error);
  return request;
}

}  // namespace

HttpSession::Awaitable<void> HttpSession::OnWorker(std::function<void()> work) {
  auto done = std::make_shared<bool>(false);
  asio::post(router_.loops.workers(),
             [self = shared_from_this(), done, work = std::move(work)]() mutable {
               work();
               // The session must be let go on its own loop: the worker only carries it there.
               HttpSession* session = self.get();
               asio::post(session->socket_.get_executor(), [self = std::move(self), done] {
                 *done = true;
                 self->wakeup_.Notify();
               });
             });
  while (!*done) co_await wakeup_.Wait();
}

HttpSession::Awaitable<std::variant<HttpReply, GenerationRoute>> HttpSession::Handle(
    HttpRequest& request) {
  if (request.body.size() <= kInlineBodyBytes) co_return api_.Handle(request);
  struct Job {
    HttpRequest request;
    std::variant<HttpReply, GenerationRoute> result;
  };
  auto job = std::make_shared<Job>();
  job->request = std::move(request);
  std::function<void()> work = [job, api = &api_] { job->result = api->Handle(job->request); };
  co_await OnWorker(std::move(work));
  request = std::move(job->request);
  co_return std::move(job->result);
}

HttpSession::Awaitable<std::variant<ApiRequest, ApiError>> HttpSession::ParseGeneration(
    Dialect dialect, std::string body) {
  if (body.size() <= kInlineBodyBytes) co_return Parse(router_, dialect, body);
  struct Job {
    std::string body;
    std::variant<ApiRequest, ApiError> result;
  };
  auto job = std::make_shared<Job>();
  job->body = std::move(body);
  std::function<void()> work = [job, dialect, router = &router_] {
    job->result = Parse(*router, dialect, job->body);
  };
  co_await OnWorker(std::move(work));
  co_return std::move(job->result);
}

HttpSession::Awaitable<bool> HttpSession::Generate(ApiRequest request, ReplyHead head,
                                                   absl::Time arrived) {
  const AnswerHead answer{absl::StrFormat("%016x%016x", router_.rng.Next(), router_.rng.Next()),
                          router_.model_id, absl::ToUnixSeconds(absl::Now())};
  const bool stream = request.shape.stream;
  const ErrorForm errors = ErrorFormOf(request.dialect);
  ResponseOutbox outbox(MakeAnswerWriter(router_.tokenizer, router_.turn_format, request, answer),
                        stream, limits_.outbox_bytes, wakeup_, [this] { Close(); });
  const CancelAtEnd cancel_at_end{flow_};
  client_gone_ = false;
  stop_watching_ = false;
  watching_ = true;
  asio::co_spawn(socket_.get_executor(), WatchClient(shared_from_this()), asio::detached);
  flow_ = RequestFlow::Start(router_, socket_.get_executor(), std::move(request.generation),
                             arrived, &outbox);
  bool goes_on = false;
  if (stream) {
    goes_on = co_await SendStream(outbox, head, errors);
  } else {
    goes_on = co_await SendCollected(outbox, head, errors);
  }
  flow_->Cancel();
  co_await StopWatching();
  // Now the answer is written: the admission slot goes back.
  flow_.reset();
  co_return goes_on && !client_gone_;
}

HttpSession::Awaitable<bool> HttpSession::SendCollected(ResponseOutbox& outbox, ReplyHead head,
                                                        ErrorForm errors) {
  while (!outbox.done() && !client_gone_) co_await wakeup_.Wait();
  if (client_gone_) co_return false;
  HttpReply reply;
  if (outbox.early_error()) {
    reply = ErrorReply(*outbox.early_error(), errors);
  } else {
    reply.body = outbox.TakeText();
  }
  co_return co_await Reply(std::move(reply), std::move(head), false);
}

HttpSession::Awaitable<bool> HttpSession::SendStream(ResponseOutbox& outbox, ReplyHead head,
                                                     ErrorForm errors) {
  // HTTP/1.0 has no chunks: there the end of the connection ends the stream.
  const bool chunked = head.version == 11;
  head.keep_alive = head.keep_alive && chunked;
  bool begun = false;
  while (true) {
    while (!outbox.has_text() && !outbox.done() && !client_gone_) co_await wakeup_.Wait();
    if (client_gone_) co_return false;
    if (outbox.early_error()) {
      co_return co_await Reply(ErrorReply(*outbox.early_error(), errors), std::move(head), false);
    }
    // Everything that was there when `last` was read is in this write.
    const bool last = outbox.done();
    const std::string events = outbox.TakeText();
    std::string text;
    if (!begun) {
      begun = true;
      head.keep_alive = head.keep_alive && !router_.admission.draining();
      std::vector<std::pair<std::string, std::string>> headers = {{"cache-control", "no-cache"},
                                                                  {"x-accel-buffering", "no"}};
      if (chunked) headers.emplace_back("transfer-encoding", "chunked");
      text = HeaderText(head, "text/event-stream; charset=utf-8", -1, headers);
    }
    if (chunked) {
      text += absl::StrFormat("%x\r\n", events.size());
      text += events;
      text += last ? "\r\n0\r\n\r\n" : "\r\n";
    } else {
      text += events;
    }
    const bool written = co_await Write(std::move(text));
    if (!written) co_return false;
    if (last) co_return head.keep_alive;
  }
}

HttpSession::Awaitable<void> HttpSession::WatchClient(std::shared_ptr<HttpSession> self) {
  while (!self->stop_watching_ && self->buffer_.size() < kMaxEarlyBytes) {
    error_code error;
    const size_t bytes = co_await self->socket_.async_read_some(
        self->buffer_.prepare(4096), asio::redirect_error(kAwait, error));
    if (error && self->stop_watching_) break;
    if (error) {
      self->client_gone_ = true;
      // At once, also while a write waits for a client that is not there.
      if (self->flow_) self->flow_->Cancel();
      self->Close();
      break;
    }
    self->buffer_.commit(bytes);
  }
  self->watching_ = false;
  self->wakeup_.Notify();
}

HttpSession::Awaitable<void> HttpSession::StopWatching() {
  stop_watching_ = true;
  error_code ignored;
  socket_.cancel(ignored);
  while (watching_) co_await wakeup_.Wait();
}

}  // namespace baton::router
