#include "router/http_api.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "router/api/dialects.h"
#include "router/api/messages_api.h"
#include "router/api/openapi.h"
#include "router/field_reader.h"
#include "router/openai_api.h"
#include "router/prompt_tokens.h"
#include "router/version.h"
#include "web/web_files.h"

namespace baton::router {
namespace {

constexpr absl::string_view kVersionPath = "/v1";
constexpr absl::string_view kModelsPath = "/v1/models";
constexpr absl::Duration kStuckLoop = absl::Seconds(5);
constexpr size_t kMaxTextBytes = size_t{1} << 30;  // the body's own limit is lower
constexpr size_t kMaxIds = size_t{1} << 24;

bool IsJson(absl::string_view content_type) {
  const absl::string_view type = content_type.substr(0, content_type.find(';'));
  const std::string lower = absl::AsciiStrToLower(absl::StripAsciiWhitespace(type));
  return lower == "application/json" || absl::EndsWith(lower, "+json");
}

// vLLM's `prompt` or `messages`, or llama.cpp's `content`; each has its own default for BOS.
Prompt ReadTokenizePrompt(FieldReader& fields, bool* add_special) {
  Prompt prompt;
  if (const Json* messages = fields.Raw("messages")) {
    prompt.kind = Prompt::Kind::kChat;
    fields.Take(ParseMessages(*messages, &prompt.text));
    *add_special = fields.Boolean("add_special_tokens").value_or(false);
  } else if (const auto content = fields.String("content", kMaxTextBytes)) {
    prompt.text = *content;
    *add_special = fields.Boolean("add_special").value_or(false);
  } else {
    const auto text = fields.String("prompt", kMaxTextBytes);
    if (!text) fields.Fail("prompt", "is required, or 'messages'.");
    prompt.text = text.value_or("");
    *add_special = fields.Boolean("add_special_tokens").value_or(true);
  }
  return prompt;
}

// The page asks only this server, runs only its own scripts and is not to be framed by others.
HttpReply StatusPage(const web::WebFile& file) {
  return {
      .body = std::string(file.body),
      .content_type = file.content_type,
      .headers = {{"Cache-Control", "no-cache"},
                  {"X-Content-Type-Options", "nosniff"},
                  {"Content-Security-Policy",
                   "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
                   "frame-ancestors 'none'; base-uri 'none'"}}};
}

// llama.cpp's form of tokens: each with its text, or with its bytes where these are no text.
std::string PiecesJson(const models::text::Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  Json pieces = Json::array();
  for (const int32_t id : ids) {
    const std::string bytes = tokenizer.TokenBytes(id);
    Json piece = bytes;
    if (ValidUtf8(bytes) != bytes) {
      piece = Json::array();
      for (const char byte : bytes) piece.push_back(static_cast<unsigned char>(byte));
    }
    pieces.push_back({{"id", id}, {"piece", std::move(piece)}});
  }
  return pieces.dump();
}

}  // namespace

const HttpApi::Route HttpApi::kRoutes[] = {
    {"POST", "/v1/chat/completions", nullptr, Dialect::kChat},
    {"POST", "/v1/completions", nullptr, Dialect::kCompletions},
    {"POST", "/v1/responses", nullptr, Dialect::kResponses},
    {"POST", "/v1/messages", nullptr, Dialect::kMessages},
    {"POST", "/v1/embeddings", nullptr, Dialect::kEmbeddings},
    {"POST", "/v1/messages/count_tokens", &HttpApi::CountTokens, Dialect::kMessages},
    {"GET", kModelsPath, &HttpApi::Models},
    {"GET", "/load", &HttpApi::Load},
    {"GET", "/openapi.json", &HttpApi::Description},
    {"GET", "/health", &HttpApi::Health},
    {"GET", "/ready", &HttpApi::Ready},
    {"GET", "/metrics", &HttpApi::Metrics},
    {"GET", "/version", &HttpApi::Version},
    {"GET", "/debug/requests", &HttpApi::DebugRequests},
    {"GET", "/debug/trace", &HttpApi::DebugTrace},
    {"POST", "/tokenize", &HttpApi::Tokenize},
    {"POST", "/detokenize", &HttpApi::Detokenize},
};

HttpApi::HttpApi(RouterContext& router) : router_(router) {}

std::variant<HttpReply, GenerationRoute> HttpApi::Handle(const HttpRequest& request) const {
  const absl::string_view path = request.path;
  for (const Route& route : kRoutes) {
    const bool same = route.path == path || (absl::StartsWith(route.path, kVersionPath) &&
                                             route.path.substr(kVersionPath.size()) == path);
    if (!same) continue;
    if (route.method != absl::string_view(request.method)) {
      return MethodNotAllowed(route.method == "GET" ? "GET, HEAD" : "POST");
    }
    if (route.method == "POST" && !IsJson(request.content_type)) {
      return ErrorReply(UnsupportedMediaType(), ErrorFormOf(route.dialect));
    }
    if (route.reply == nullptr) return GenerationRoute{route.dialect};
    return (this->*route.reply)(request);
  }
  for (const absl::string_view models : {kModelsPath, kModelsPath.substr(kVersionPath.size())}) {
    if (!absl::StartsWith(path, absl::StrCat(models, "/"))) continue;
    if (request.method != "GET") return MethodNotAllowed("GET, HEAD");
    return Model(path.substr(models.size() + 1));
  }
  if (const web::WebFile* file = web::FindWebFile(path)) {
    if (request.method != "GET") return MethodNotAllowed("GET, HEAD");
    return StatusPage(*file);
  }
  return ErrorReply(NoSuchRoute(path));
}

std::string HttpApi::ModelJson() const {
  Json permission = {{"id", absl::StrCat("modelperm-", router_.model_id)},
                     {"object", "model_permission"},
                     {"created", router_.created_s},
                     {"allow_create_engine", false},
                     {"allow_sampling", true},
                     {"allow_logprobs", true},
                     {"allow_search_indices", false},
                     {"allow_view", true},
                     {"allow_fine_tuning", false},
                     {"organization", "*"},
                     {"group", nullptr},
                     {"is_blocking", false}};
  return Json{{"id", router_.model_id},
              {"object", "model"},
              {"created", router_.created_s},
              {"owned_by", "baton"},
              {"root", router_.model_root},
              {"parent", nullptr},
              {"max_model_len", router_.ContextLength()},
              {"permission", Json::array({permission})}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

HttpReply HttpApi::Models(const HttpRequest&) const {
  return {.body = absl::StrCat("{\"object\":\"list\",\"data\":[", ModelJson(), "]}")};
}

HttpReply HttpApi::Model(absl::string_view id) const {
  if (id != absl::string_view(router_.model_id)) return ErrorReply(UnknownModel(id));
  return {.body = ModelJson()};
}

HttpReply HttpApi::Health(const HttpRequest&) const {
  if (router_.loops.Alive(kStuckLoop)) return {.body = "{\"status\":\"ok\"}"};
  return ErrorReply(NotReady("An event loop makes no progress."));
}

HttpReply HttpApi::Ready(const HttpRequest&) const {
  if (router_.admission.draining()) return ErrorReply(NotReady("The server is shutting down."));
  const auto cluster = router_.cluster.snapshot();
  const std::string missing = cluster->Missing(router_.NeedsPrefillNodes());
  if (!missing.empty()) return ErrorReply(NotReady(missing));
  return {.body = Json{{"status", "ready"},
                       {"prefill_nodes", cluster->prefill.size()},
                       {"decode_nodes", cluster->decode.size()}}
                      .dump()};
}

HttpReply HttpApi::Metrics(const HttpRequest&) const {
  return {.body = router_.metrics.Exposition(*router_.cluster.snapshot(), router_.caches.stats(),
                                             router_.admission, router_.model_id),
          .content_type = "text/plain; version=0.0.4; charset=utf-8"};
}

HttpReply HttpApi::Load(const HttpRequest&) const {
  return {.body = absl::StrCat("{\"server_load\":", router_.admission.running(), "}")};
}

HttpReply HttpApi::Description(const HttpRequest&) const {
  return {.body = OpenApiJson(router_.tokenizer.vocab_size())};
}

HttpReply HttpApi::CountTokens(const HttpRequest& request) const {
  const auto refuse = [](const ApiError& error) {
    return ErrorReply(error, ErrorForm::kAnthropic);
  };
  Json body;
  if (auto error = ParseBody(request.body, &body)) return refuse(*error);
  ApiRequest parsed;
  const int32_t vocab_size = router_.tokenizer.vocab_size();
  if (auto error = ParseMessagesRequest(body, vocab_size, /*count=*/true, &parsed)) {
    return refuse(*error);
  }
  const Generation& generation = parsed.generation;
  if (generation.model != router_.model_id) return refuse(UnknownModel(generation.model));
  if (auto error = ApplyTurnFormat(router_.turn_format, router_.tokenizer, &parsed)) {
    return refuse(*error);
  }
  std::vector<int32_t> ids;
  if (auto error =
          EncodePrompt(router_.tokenizer, generation.prompts.front(), generation.add_special_tokens,
                       generation.add_generation_prompt, &ids)) {
    return refuse(*error);
  }
  return {.body = absl::StrCat("{\"input_tokens\":", ids.size(), "}")};
}

HttpReply HttpApi::DebugRequests(const HttpRequest&) const {
  return {.body = router_.requests.Json()};
}

HttpReply HttpApi::DebugTrace(const HttpRequest&) const {
  return {.body = router_.requests.TraceJson()};
}

HttpReply HttpApi::Version(const HttpRequest&) const {
  return {.body = absl::StrCat("{\"version\":\"", kVersion, "\"}")};
}

HttpReply HttpApi::Tokenize(const HttpRequest& request) const {
  Json body;
  if (auto error = ParseBody(request.body, &body)) return ErrorReply(*error);
  FieldReader fields(body);
  const std::string model = fields.String("model", kMaxTextBytes).value_or("");
  const bool add_generation_prompt = fields.Boolean("add_generation_prompt").value_or(true);
  const bool with_strings = fields.Boolean("return_token_strs").value_or(false);
  const bool with_pieces = fields.Boolean("with_pieces").value_or(false);
  const bool parse_special = fields.Boolean("parse_special").value_or(true);
  bool add_special = false;
  const Prompt prompt = ReadTokenizePrompt(fields, &add_special);
  if (!parse_special && prompt.kind == Prompt::Kind::kChat) {
    fields.Fail("parse_special", "must be true for messages.");
  }
  if (fields.error()) return ErrorReply(*fields.error());
  if (!model.empty() && model != router_.model_id) return ErrorReply(UnknownModel(model));
  std::vector<int32_t> ids;
  if (!parse_special) {
    auto plain = router_.tokenizer.Encode(prompt.text, /*parse_special=*/false, add_special);
    if (!plain.ok()) return ErrorReply(InvalidParam("content", "The tokenizer refused the text."));
    ids = *std::move(plain);
  } else if (auto error = EncodePrompt(router_.tokenizer, prompt, add_special,
                                       add_generation_prompt, &ids)) {
    return ErrorReply(*error);
  }
  HttpReply reply;
  reply.body = absl::StrCat("{\"count\":", ids.size(),
                            ",\"max_model_len\":", router_.ContextLength(), ",\"tokens\":",
                            with_pieces ? PiecesJson(router_.tokenizer, ids)
                                        : absl::StrCat("[", absl::StrJoin(ids, ","), "]"));
  if (with_strings) {
    reply.body += ",\"token_strs\":[";
    for (size_t i = 0; i < ids.size(); ++i) {
      if (i > 0) reply.body.push_back(',');
      AppendJsonString(router_.tokenizer.TokenBytes(ids[i]), &reply.body);
    }
    reply.body += "]";
  }
  reply.body += "}";
  return reply;
}

HttpReply HttpApi::Detokenize(const HttpRequest& request) const {
  Json body;
  if (auto error = ParseBody(request.body, &body)) return ErrorReply(*error);
  FieldReader fields(body);
  const std::string model = fields.String("model", kMaxTextBytes).value_or("");
  const auto ids = fields.Integers("tokens", 0, router_.tokenizer.vocab_size() - 1, kMaxIds);
  if (!ids) fields.Fail("tokens", "is required.");
  if (fields.error()) return ErrorReply(*fields.error());
  if (!model.empty() && model != router_.model_id) return ErrorReply(UnknownModel(model));
  const absl::StatusOr<std::string> text = router_.tokenizer.Decode(*ids, /*skip_special=*/false);
  if (!text.ok()) return ErrorReply(InvalidParam("tokens", std::string(text.status().message())));
  HttpReply reply;
  reply.body = "{\"prompt\":";
  AppendJsonString(*text, &reply.body);
  reply.body += ",\"content\":";  // llama.cpp's name
  AppendJsonString(*text, &reply.body);
  reply.body += "}";
  return reply;
}

}  // namespace baton::router
