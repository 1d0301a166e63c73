// The routes of the HTTP API. Everything that is answered at once is answered here; generation is
// left to the session.
#pragma once

#include <variant>

#include "router/http_message.h"
#include "router/openai_api.h"
#include "router/router_context.h"

namespace baton::router {

// A request that generates.
struct GenerationRoute {
  Dialect dialect = Dialect::kCompletions;
};

// Thread-safe.
class HttpApi {
 public:
  // `router` must outlive the API.
  explicit HttpApi(RouterContext& router);

  std::variant<HttpReply, GenerationRoute> Handle(const HttpRequest& request) const;

 private:
  HttpReply Models(const HttpRequest& request) const;
  HttpReply Model(absl::string_view id) const;
  HttpReply Health(const HttpRequest& request) const;
  HttpReply Ready(const HttpRequest& request) const;
  HttpReply DebugRequests(const HttpRequest& request) const;
  HttpReply DebugTrace(const HttpRequest& request) const;
  HttpReply Metrics(const HttpRequest& request) const;
  HttpReply Version(const HttpRequest& request) const;
  HttpReply Tokenize(const HttpRequest& request) const;
  HttpReply Detokenize(const HttpRequest& request) const;

  HttpReply CountTokens(const HttpRequest& request) const;
  HttpReply Load(const HttpRequest& request) const;
  HttpReply Description(const HttpRequest& request) const;

  struct Route {
    absl::string_view method;
    absl::string_view path;  // what is below /v1 is served without it too
    HttpReply (HttpApi::*reply)(const HttpRequest&) const;  // null: generation
    Dialect dialect = Dialect::kChat;
  };
  static const Route kRoutes[];

  std::string ModelJson() const;

  RouterContext& router_;
};

}  // namespace baton::router
