#include "cli/http_client.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace baton::cli {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

struct Address {
  std::string host, port;
};

absl::StatusOr<Address> ParseUrl(const std::string& url) {
  absl::string_view rest = url;
  if (!absl::ConsumePrefix(&rest, "http://")) {
    return absl::InvalidArgumentError(absl::StrCat("url '", url, "': needs http://host[:port]"));
  }
  absl::ConsumeSuffix(&rest, "/");
  const size_t colon = rest.rfind(':');
  const bool has_port =
      colon != absl::string_view::npos && rest.find(']', colon) == absl::string_view::npos;
  absl::string_view host = has_port ? rest.substr(0, colon) : rest;
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  if (host.empty() || host.find('/') != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("url '", url, "': needs http://host[:port]"));
  }
  return Address{std::string(host), has_port ? std::string(rest.substr(colon + 1)) : "80"};
}

absl::Status FromError(const beast::error_code& error, const std::string& url) {
  if (error == beast::error::timeout) {
    return absl::DeadlineExceededError(absl::StrCat(url, ": no answer in time"));
  }
  return absl::UnavailableError(absl::StrCat(url, ": ", error.message()));
}

// Blocking calls with a time-out: each runs as an asynchronous operation to its end.
class Connection {
 public:
  Connection(const std::string& url, absl::Duration timeout)
      : url_(url),
        timeout_(std::chrono::milliseconds(absl::ToInt64Milliseconds(timeout))),
        stream_(context_) {}

  absl::Status Connect() {
    BATON_ASSIGN_OR_RETURN(address_, ParseUrl(url_));
    beast::error_code error;
    asio::ip::tcp::resolver resolver(context_);
    const auto endpoints = resolver.resolve(address_.host, address_.port, error);
    if (error) return FromError(error, url_);
    return Run([&](auto done) {
      stream_.async_connect(endpoints, [done](beast::error_code e, const auto&) { done(e); });
    });
  }

  absl::Status Send(http::verb verb, const std::string& path, const std::string& body) {
    http::request<http::string_body> request(verb, path, 11);
    request.set(http::field::host, address_.host);
    request.set(http::field::user_agent, "baton");
    if (!body.empty()) request.set(http::field::content_type, "application/json");
    request.body() = body;
    request.prepare_payload();
    return Run([&](auto done) {
      http::async_write(stream_, request, [done](beast::error_code e, size_t) { done(e); });
    });
  }

  template <typename Parser>
  absl::Status ReadHeader(Parser& parser) {
    return Run([&](auto done) {
      http::async_read_header(stream_, buffer_, parser,
                              [done](beast::error_code e, size_t) { done(e); });
    });
  }

  template <typename Parser>
  absl::Status ReadAll(Parser& parser) {
    return Run([&](auto done) {
      http::async_read(stream_, buffer_, parser, [done](beast::error_code e, size_t) { done(e); });
    });
  }

  template <typename Parser>
  absl::Status ReadSome(Parser& parser) {
    return Run([&](auto done) {
      http::async_read_some(stream_, buffer_, parser, [done](beast::error_code e, size_t) {
        done(e == http::error::need_buffer ? beast::error_code() : e);
      });
    });
  }

 private:
  template <typename Start>
  absl::Status Run(const Start& start) {
    beast::error_code result;
    stream_.expires_after(timeout_);
    start([&result](beast::error_code error) { result = error; });
    context_.restart();
    context_.run();
    return result ? FromError(result, url_) : absl::OkStatus();
  }

  const std::string url_;
  const std::chrono::milliseconds timeout_;
  Address address_;
  asio::io_context context_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
};

// The server's own words where it sent an OpenAI-style error.
std::string ErrorMessage(int status, const std::string& body) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_object() &&
      json["error"].contains("message") && json["error"]["message"].is_string()) {
    return absl::StrCat("HTTP ", status, ": ", json["error"]["message"].get<std::string>());
  }
  return absl::StrCat("HTTP ", status, ": ", body.substr(0, 200));
}

// Takes whole lines out of `text` and hands the data of events on; false: the caller wants no more.
bool TakeEvents(std::string* text, const std::function<bool(const std::string&)>& on_event) {
  size_t end;
  while ((end = text->find('\n')) != std::string::npos) {
    std::string line = text->substr(0, end);
    text->erase(0, end + 1);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    absl::string_view data = line;
    if (!absl::ConsumePrefix(&data, "data:")) continue;
    absl::ConsumePrefix(&data, " ");
    if (data != "[DONE]" && !on_event(std::string(data))) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<HttpReply> HttpGet(const std::string& url, const std::string& path,
                                  absl::Duration timeout) {
  Connection connection(url, timeout);
  BATON_RETURN_IF_ERROR(connection.Connect());
  BATON_RETURN_IF_ERROR(connection.Send(http::verb::get, path, ""));
  http::response_parser<http::string_body> parser;
  BATON_RETURN_IF_ERROR(connection.ReadAll(parser));
  return HttpReply{static_cast<int>(parser.get().result_int()), std::move(parser.get().body())};
}

absl::Status HttpStream(const std::string& url, const std::string& path, const std::string& body,
                        absl::Duration timeout,
                        const std::function<bool(const std::string& data)>& on_event) {
  Connection connection(url, timeout);
  BATON_RETURN_IF_ERROR(connection.Connect());
  BATON_RETURN_IF_ERROR(connection.Send(http::verb::post, path, body));
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(boost::none);
  BATON_RETURN_IF_ERROR(connection.ReadHeader(parser));
  const int status = static_cast<int>(parser.get().result_int());
  std::string text;
  while (!parser.is_done()) {
    char piece[4096];
    parser.get().body().data = piece;
    parser.get().body().size = sizeof(piece);
    BATON_RETURN_IF_ERROR(connection.ReadSome(parser));
    text.append(piece, sizeof(piece) - parser.get().body().size);
    if (status == 200 && !TakeEvents(&text, on_event)) return absl::OkStatus();
  }
  if (status != 200) return absl::UnavailableError(ErrorMessage(status, text));
  return absl::OkStatus();
}

}  // namespace baton::cli
