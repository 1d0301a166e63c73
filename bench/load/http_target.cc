#include "bench/load/http_target.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace baton::bench {

std::string HttpTarget::Authority() const {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return is_ipv6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

absl::StatusOr<HttpTarget> ParseBaseUrl(absl::string_view url) {
  const auto invalid = [url](absl::string_view problem) {
    return absl::InvalidArgumentError(
        absl::StrCat("base URL '", url, "': ", problem, "; needed http://host[:port][/path]"));
  };
  absl::string_view rest = url;
  if (absl::StartsWithIgnoreCase(rest, "https://")) {
    return invalid("https is not supported; put a TLS-terminating proxy in front or use http");
  }
  if (!absl::StartsWithIgnoreCase(rest, "http://")) return invalid("it has no scheme");
  rest.remove_prefix(7);

  HttpTarget target;
  const size_t slash = rest.find('/');
  if (slash != absl::string_view::npos) {
    target.path_prefix = std::string(absl::StripSuffix(rest.substr(slash), "/"));
    rest = rest.substr(0, slash);
  }
  absl::string_view port = "80";
  if (!rest.empty() && rest[0] == '[') {
    const size_t bracket = rest.find(']');
    if (bracket == absl::string_view::npos) return invalid("'[' has no ']'");
    target.host = std::string(rest.substr(1, bracket - 1));
    rest.remove_prefix(bracket + 1);
    if (!rest.empty() && !absl::ConsumePrefix(&rest, ":")) return invalid("the port needs a ':'");
    if (!rest.empty()) port = rest;
  } else {
    const size_t colon = rest.find(':');
    target.host = std::string(rest.substr(0, colon));
    if (colon != absl::string_view::npos) port = rest.substr(colon + 1);
  }
  if (target.host.empty()) return invalid("it has no host");
  int number = 0;
  if (!absl::SimpleAtoi(port, &number) || number < 1 || number > 65535) {
    return invalid("the port must be 1 to 65535");
  }
  target.port = absl::StrCat(number);
  return target;
}

HttpRequest MakeRequest(const HttpTarget& target, boost::beast::http::verb verb,
                        const std::string& path, std::string body) {
  namespace http = boost::beast::http;
  HttpRequest request(verb, target.path_prefix + path, 11);
  request.set(http::field::host, target.Authority());
  request.set(http::field::user_agent, "baton-bench");
  request.set(http::field::accept, "text/event-stream, application/json");
  for (const auto& [name, value] : target.headers) request.set(name, value);
  if (!body.empty()) request.set(http::field::content_type, "application/json");
  request.body() = std::move(body);
  request.prepare_payload();
  return request;
}

}  // namespace baton::bench
