// A tiny HTTP server in the test's own process: what it sends, byte by byte, and when, is up to the
// test.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/mutex.h"

namespace baton::test {

struct FakeRequest {
  std::string head;  // request line and headers
  std::string body;
  bool Is(const std::string& line_start) const { return head.rfind(line_start, 0) == 0; }
};

// One connection, from the server's side.
class FakeConnection {
 public:
  explicit FakeConnection(int socket) : socket_(socket) {}

  void Send(const std::string& bytes) {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t n = send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return;
      sent += static_cast<size_t>(n);
    }
  }
  void SendJson(int status, const std::string& body) {
    Send(absl::StrCat("HTTP/1.1 ", status,
                      " X\r\nContent-Type: application/json\r\nContent-Length: ", body.size(),
                      "\r\n\r\n", body));
  }
  void BeginStream() {
    Send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
  }
  static std::string Chunk(const std::string& bytes) {
    return absl::StrFormat("%x\r\n%s\r\n", bytes.size(), bytes);
  }
  void SendChunk(const std::string& bytes) { Send(Chunk(bytes)); }
  void EndStream() { Send("0\r\n\r\n"); }
  // The connection ends after this answer.
  void Close() { closed_ = true; }
  bool closed() const { return closed_; }

 private:
  int socket_;
  bool closed_ = false;
};

class FakeServer {
 public:
  using Answer = std::function<void(const FakeRequest&, FakeConnection&)>;

  // Listens on a free port of 127.0.0.1 or ::1 and answers every request by `answer`, on a thread a
  // connection.
  explicit FakeServer(Answer answer, bool ipv6 = false) : answer_(std::move(answer)) {
    listener_ = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
    sockaddr_in6 v6 = {};
    sockaddr_in v4 = {};
    v6.sin6_family = AF_INET6;
    v6.sin6_addr = in6addr_loopback;
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* address = ipv6 ? reinterpret_cast<sockaddr*>(&v6) : reinterpret_cast<sockaddr*>(&v4);
    socklen_t size = ipv6 ? sizeof(v6) : sizeof(v4);
    ok_ = bind(listener_, address, size) == 0 && listen(listener_, 128) == 0 &&
          getsockname(listener_, address, &size) == 0;
    port_ = ntohs(ipv6 ? v6.sin6_port : v4.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~FakeServer() {
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    close(listener_);
    {
      MutexLock lock(mutex_);
      for (int socket : sockets_) shutdown(socket, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
    for (int socket : sockets_) close(socket);
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  bool ok() const { return ok_; }
  int port() const { return port_; }
  int connections() const { return connections_; }

 private:
  void Accept() {
    for (;;) {
      const int socket = accept(listener_, nullptr, nullptr);
      if (socket < 0) return;
      ++connections_;
      MutexLock lock(mutex_);
      sockets_.push_back(socket);
      threads_.emplace_back([this, socket] { Serve(socket); });
    }
  }

  void Serve(int socket) {
    FakeConnection connection(socket);
    std::string received;
    while (!connection.closed()) {
      const size_t head_end = received.find("\r\n\r\n");
      size_t body_bytes = 0;
      if (head_end != std::string::npos) {
        const size_t length = received.find("Content-Length: ");
        if (length < head_end) body_bytes = std::stoul(received.substr(length + 16));
        if (received.size() >= head_end + 4 + body_bytes) {
          const FakeRequest request{received.substr(0, head_end),
                                    received.substr(head_end + 4, body_bytes)};
          received.erase(0, head_end + 4 + body_bytes);
          answer_(request, connection);
          continue;
        }
      }
      char buffer[4096];
      const ssize_t n = recv(socket, buffer, sizeof(buffer), 0);
      if (n <= 0) return;
      received.append(buffer, static_cast<size_t>(n));
    }
    shutdown(socket, SHUT_RDWR);
  }

  Answer answer_;
  int listener_ = -1;
  bool ok_ = false;
  int port_ = 0;
  std::atomic<int> connections_{0};
  std::thread acceptor_;
  Mutex mutex_;
  std::vector<int> sockets_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;  // only the acceptor adds to it
};

inline void SleepMs(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

// Events of a completion stream.
inline std::string TextEvent(const std::string& text) {
  return absl::StrCat(R"(data: {"choices":[{"index":0,"text":")", text,
                      R"(","finish_reason":null}]})", "\n\n");
}
inline std::string FinishEvent() {
  return "data: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n";
}
inline std::string UsageEvent(int prompt, int completion) {
  return absl::StrCat(R"(data: {"choices":[],"usage":{"prompt_tokens":)", prompt,
                      R"(,"completion_tokens":)", completion, "}}\n\n");
}

}  // namespace baton::test
