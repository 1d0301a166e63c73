// Accepts HTTP connections and spreads them over the event loops.
#pragma once

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "router/http_session.h"

namespace baton::router {

inline constexpr int64_t kMaxConnections = 4096;

class HttpListener : public std::enable_shared_from_this<HttpListener> {
 public:
  // Listens on host:port (port 0 takes a free one). Unavailable where that fails. `router` and
  // `api` must outlive the listener and its sessions.
  static absl::StatusOr<std::shared_ptr<HttpListener>> Start(RouterContext& router,
                                                             const HttpApi& api,
                                                             const HttpLimits& limits,
                                                             const std::string& host, int port);
  // The bound "host:port".
  const std::string& address() const { return address_; }
  int64_t connections() const { return connections_.load(); }

  // Accepts no more and cuts every connection; returns when all sessions have ended or `timeout`
  // has passed.
  bool Stop(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  HttpListener(RouterContext& router, const HttpApi& api, const HttpLimits& limits);
  absl::Status Bind(const std::string& host, int port);
  static boost::asio::awaitable<void, Executor> Accept(std::shared_ptr<HttpListener> self);
  void Serve(HttpSession::Socket socket) ABSL_LOCKS_EXCLUDED(mutex_);

  RouterContext& router_;
  const HttpApi& api_;
  const HttpLimits limits_;
  boost::asio::basic_socket_acceptor<boost::asio::ip::tcp, Executor> acceptor_;
  std::string address_;
  std::atomic<int64_t> connections_{0};
  std::atomic<bool> stopped_{false};
  Mutex mutex_;
  struct Entry {
    Executor executor;
    std::weak_ptr<HttpSession> session;
  };
  std::vector<Entry> sessions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace baton::router
