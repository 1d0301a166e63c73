#include "router/http_listener.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::router {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr asio::use_awaitable_t<Executor> kAwait;
constexpr std::chrono::milliseconds kAcceptPause{100};

}  // namespace

HttpListener::HttpListener(RouterContext& router, const HttpApi& api, const HttpLimits& limits)
    : router_(router), api_(api), limits_(limits), acceptor_(router.loops.first()) {}

absl::StatusOr<std::shared_ptr<HttpListener>> HttpListener::Start(RouterContext& router,
                                                                  const HttpApi& api,
                                                                  const HttpLimits& limits,
                                                                  const std::string& host,
                                                                  int port) {
  std::shared_ptr<HttpListener> listener(new HttpListener(router, api, limits));
  BATON_RETURN_IF_ERROR(listener->Bind(host, port));
  asio::co_spawn(listener->acceptor_.get_executor(), Accept(listener), asio::detached);
  return listener;
}

absl::Status HttpListener::Bind(const std::string& host, int port) {
  error_code error;
  tcp::resolver resolver(router_.loops.first());
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    return absl::UnavailableError(
        absl::StrCat("HTTP: cannot resolve ", host, ": ", error.message()));
  }
  // A name that has both kinds of address, as localhost, is served at the older one, where clients
  // look first.
  tcp::endpoint endpoint = found.begin()->endpoint();
  for (const auto& entry : found) {
    if (entry.endpoint().protocol() == tcp::v4()) endpoint = entry.endpoint();
  }
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(1024, error);
  if (error) {
    return absl::UnavailableError(
        absl::StrCat("HTTP: cannot listen on ", host, ":", port, ": ", error.message()));
  }
  const bool v6 = endpoint.protocol() == tcp::v6() && host.find(':') != std::string::npos;
  address_ =
      absl::StrCat(v6 ? "[" : "", host, v6 ? "]" : "", ":", acceptor_.local_endpoint(error).port());
  return absl::OkStatus();
}

asio::awaitable<void, Executor> HttpListener::Accept(std::shared_ptr<HttpListener> self) {
  while (!self->stopped_) {
    error_code error;
    HttpSession::Socket socket(self->router_.loops.Next());
    co_await self->acceptor_.async_accept(socket, asio::redirect_error(kAwait, error));
    if (self->stopped_) co_return;
    if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) co_return;
    if (error) {
      // Out of file descriptors, most likely: wait until some are free.
      spdlog::warn("HTTP: accept failed: {}", error.message());
      asio::basic_waitable_timer<std::chrono::steady_clock,
                                 asio::wait_traits<std::chrono::steady_clock>, Executor>
          pause(self->acceptor_.get_executor(), kAcceptPause);
      co_await pause.async_wait(asio::redirect_error(kAwait, error));
      continue;
    }
    // Beyond the limit the socket is closed again by its destructor.
    if (self->connections_.load() < kMaxConnections) self->Serve(std::move(socket));
  }
}

void HttpListener::Serve(HttpSession::Socket socket) {
  const Executor executor = socket.get_executor();
  auto session =
      std::make_shared<HttpSession>(router_, api_, limits_, std::move(socket), connections_);
  {
    MutexLock lock(mutex_);
    sessions_.erase(std::remove_if(sessions_.begin(), sessions_.end(),
                                   [](const Entry& entry) { return entry.session.expired(); }),
                    sessions_.end());
    sessions_.push_back({executor, session});
  }
  asio::post(executor, [session = std::move(session)] { session->Start(); });
}

bool HttpListener::Stop(absl::Duration timeout) {
  stopped_ = true;
  asio::post(acceptor_.get_executor(), [self = shared_from_this()] {
    error_code ignored;
    self->acceptor_.close(ignored);
  });
  {
    MutexLock lock(mutex_);
    for (const Entry& entry : sessions_) {
      asio::post(entry.executor, [weak = entry.session] {
        if (const auto session = weak.lock()) session->Close();
      });
    }
  }
  const absl::Time deadline = absl::Now() + timeout;
  while (connections_.load() > 0 && absl::Now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return connections_.load() == 0;
}

}  // namespace baton::router
