#include "tests/router/raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace baton::router {

RawClient::RawClient(const std::string& address, int timeout_ms) {
  const size_t colon = address.rfind(':');
  sockaddr_in peer{};
  peer.sin_family = AF_INET;
  peer.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &peer.sin_addr);
  socket_ = socket(AF_INET, SOCK_STREAM, 0);
  const timeval limit{timeout_ms / 1000, (timeout_ms % 1000) * 1000};
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  if (connect(socket_, reinterpret_cast<sockaddr*>(&peer), sizeof(peer)) != 0) Close();
}

RawClient::~RawClient() { Close(); }

void RawClient::Close() {
  if (socket_ >= 0) close(socket_);
  socket_ = -1;
}

void RawClient::SetReceiveBuffer(int bytes) {
  setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

bool RawClient::Send(const std::string& bytes) {
  size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t n = send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<size_t>(n);
  }
  return true;
}

bool RawClient::Fill() {
  char bytes[16384];
  const ssize_t n = recv(socket_, bytes, sizeof(bytes), 0);
  if (n <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(n));
  return true;
}

bool RawClient::AtEnd() {
  char byte;
  return buffer_.empty() && recv(socket_, &byte, 1, MSG_PEEK) == 0;
}

std::string RawClient::ReadUntil(const std::string& mark) {
  while (buffer_.find(mark) == std::string::npos) {
    if (!Fill()) break;
  }
  return buffer_;
}

RawReply RawClient::Read() {
  RawReply reply;
  ReadUntil("\r\n\r\n");
  const size_t end = buffer_.find("\r\n\r\n");
  if (end == std::string::npos) return reply;
  const std::string head = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  const int status = std::atoi(head.c_str() + std::strlen("HTTP/1.1 "));
  for (size_t at = head.find("\r\n") + 2; at < head.size();) {
    const size_t line_end = head.find("\r\n", at);
    const size_t colon = head.find(": ", at);
    std::string name = head.substr(at, colon - at);
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    reply.headers[name] = head.substr(colon + 2, line_end - colon - 2);
    at = line_end + 2;
  }
  const auto length = reply.headers.find("content-length");
  if (length != reply.headers.end()) {
    const size_t bytes = std::strtoul(length->second.c_str(), nullptr, 10);
    while (buffer_.size() < bytes) {
      if (!Fill()) return reply;
    }
    reply.body = buffer_.substr(0, bytes);
    buffer_.erase(0, bytes);
  } else if (reply.headers.count("transfer-encoding") > 0) {
    while (true) {
      size_t line = 0;
      while ((line = buffer_.find("\r\n")) == std::string::npos) {
        if (!Fill()) return reply;
      }
      const size_t bytes = std::strtoul(buffer_.c_str(), nullptr, 16);
      while (buffer_.size() < line + 2 + bytes + 2) {
        if (!Fill()) return reply;
      }
      reply.body += buffer_.substr(line + 2, bytes);
      buffer_.erase(0, line + 2 + bytes + 2);
      if (bytes == 0) break;
    }
  } else if (status >= 200) {
    while (Fill()) continue;
    reply.body = std::move(buffer_);
    buffer_.clear();
  }
  reply.status = status;
  return reply;
}

std::string Post(const std::string& path, const std::string& body, const std::string& headers) {
  return "POST " + path + " HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n" +
         headers + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string Get(const std::string& path, const std::string& headers) {
  return "GET " + path + " HTTP/1.1\r\nHost: test\r\n" + headers + "\r\n";
}

std::vector<std::string> Events(const std::string& body) {
  std::vector<std::string> events;
  for (size_t at = 0; at < body.size();) {
    const size_t end = body.find("\n\n", at);
    if (end == std::string::npos || body.compare(at, 6, "data: ") != 0) {
      events.push_back("MALFORMED: " + body.substr(at));
      break;
    }
    events.push_back(body.substr(at + 6, end - at - 6));
    at = end + 2;
  }
  return events;
}

}  // namespace baton::router
