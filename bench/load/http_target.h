// The server that is measured, and requests to it.
#pragma once

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/verb.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace baton::bench {

using HttpRequest = boost::beast::http::request<boost::beast::http::string_body>;

struct HttpTarget {
  std::string host;  // name or address, IPv6 without brackets
  std::string port;
  std::string path_prefix;                                   // "" or "/prefix"
  std::vector<std::pair<std::string, std::string>> headers;  // sent with every request

  // "host:port" as a URL has it.
  std::string Authority() const;
};

// "http://host[:port][/prefix]". InvalidArgument names what is wrong; https is refused.
absl::StatusOr<HttpTarget> ParseBaseUrl(absl::string_view url);

// A keep-alive request with a JSON body (none when empty).
HttpRequest MakeRequest(const HttpTarget& target, boost::beast::http::verb verb,
                        const std::string& path, std::string body);

}  // namespace baton::bench
