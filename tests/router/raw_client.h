// A blocking HTTP client that shows every byte, for tests.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace baton::router {

struct RawReply {
  int status = 0;                              // 0: the connection ended before a whole reply came
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // with chunks joined
};

// One connection. Reads give up after `timeout_ms`.
class RawClient {
 public:
  explicit RawClient(const std::string& address, int timeout_ms = 10000);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool Send(const std::string& bytes);
  RawReply Read();
  // Reads until `mark` has come (or the end); returns everything from the start of the reply on,
  // undecoded.
  std::string ReadUntil(const std::string& mark);
  // True when the other side has closed.
  bool AtEnd();
  void Close();
  // A small receive buffer, so that a peer's writes soon block.
  void SetReceiveBuffer(int bytes);

 private:
  bool Fill();
  int socket_ = -1;
  std::string buffer_;
};

// "POST path" with a JSON body; `headers` are whole lines, each with "\r\n".
std::string Post(const std::string& path, const std::string& body, const std::string& headers = "");
std::string Get(const std::string& path, const std::string& headers = "");

// The `data:` payloads of a server-sent event stream.
std::vector<std::string> Events(const std::string& body);

}  // namespace baton::router
