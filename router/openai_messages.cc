// The messages of a chat.
#include "absl/strings/str_cat.h"
#include "router/field_reader.h"
#include "router/openai_api.h"

namespace baton::router {
namespace {

// The text of a message's content: a string, or a list of parts of type text.
std::optional<ApiError> ReadContent(const Json& content, const std::string& where,
                                    std::string* text) {
  if (content.is_string()) {
    *text = content.get<std::string>();
    return std::nullopt;
  }
  if (!content.is_array()) {
    return InvalidParam(where,
                        absl::StrCat("'", where, "' must be a string or a list of parts, not ",
                                     TypeName(content), "."));
  }
  for (size_t i = 0; i < content.size(); ++i) {
    const Json& part = content[i];
    const std::string at = absl::StrCat(where, "[", i, "]");
    if (part.is_string()) {
      *text += part.get<std::string>();
      continue;
    }
    if (!part.is_object() || !part.contains("type") || !part["type"].is_string()) {
      return InvalidParam(at, absl::StrCat("'", at, "' must be an object with a type."));
    }
    const std::string type = part["type"].get<std::string>();
    if (type != "text") {
      return InvalidParam(at,
                          absl::StrCat("'", at, "': this model takes parts of type 'text' only."));
    }
    if (!part.contains("text") || !part["text"].is_string()) {
      return InvalidParam(at, absl::StrCat("'", at, ".text' must be a string."));
    }
    *text += part["text"].get<std::string>();
  }
  return std::nullopt;
}

std::optional<ApiError> CheckCalls(const Json& calls, const std::string& where) {
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string at = absl::StrCat(where, "[", i, "].function");
    const Json& call = calls[i];
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) {
      return InvalidParam(at, absl::StrCat("'", at, "' must be an object."));
    }
    const Json name = call["function"].value("name", Json());
    if (!name.is_string()) {
      return InvalidParam(at + ".name", absl::StrCat("'", at, ".name' must be a string."));
    }
    const Json arguments = call["function"].value("arguments", Json("{}"));
    if (!arguments.is_string() && !arguments.is_object() && !arguments.is_null()) {
      return InvalidParam(at + ".arguments",
                          absl::StrCat("'", at, ".arguments' must be JSON in a string."));
    }
  }
  return std::nullopt;
}

std::optional<ApiError> ReadMessage(const Json& message, const std::string& where, Json* out) {
  if (!message.is_object()) {
    return InvalidParam(
        where, absl::StrCat("'", where, "' must be an object, not ", TypeName(message), "."));
  }
  const auto role = message.find("role");
  if (role == message.end() || !role->is_string()) {
    return InvalidParam(where + ".role", absl::StrCat("'", where, ".role' must be a string."));
  }
  std::string name = role->get<std::string>();
  if (name == "developer") name = "system";
  if (name != "system" && name != "user" && name != "assistant" && name != "tool") {
    return InvalidParam(where + ".role",
                        absl::StrCat("'", where,
                                     ".role' must be one of system, developer, user, "
                                     "assistant, tool."));
  }
  std::string text;
  const auto content = message.find("content");
  const bool calls = message.contains("tool_calls") && message["tool_calls"].is_array() &&
                     !message["tool_calls"].empty();
  if (content != message.end() && !content->is_null()) {
    if (auto error = ReadContent(*content, where + ".content", &text)) return error;
  } else if (name != "assistant" || !calls) {
    return InvalidParam(where + ".content", absl::StrCat("'", where, ".content' is required."));
  }
  *out = Json{{"role", name}, {"content", text}};
  // Both names of what the model thought; templates know the second.
  for (const char* key : {"name", "tool_call_id", "reasoning", "reasoning_content"}) {
    const auto value = message.find(key);
    if (value == message.end() || value->is_null()) continue;
    const std::string at = absl::StrCat(where, ".", key);
    if (!value->is_string()) {
      return InvalidParam(at, absl::StrCat("'", at, "' must be a string."));
    }
    (*out)[absl::string_view(key) == "reasoning" ? "reasoning_content" : key] = *value;
  }
  if (!calls) return std::nullopt;
  (*out)["tool_calls"] = message["tool_calls"];
  return CheckCalls(message["tool_calls"], where + ".tool_calls");
}

}  // namespace

std::optional<ApiError> ParseMessages(const Json& messages, std::string* out) {
  if (!messages.is_array()) {
    return InvalidParam("messages",
                        absl::StrCat("'messages' must be a list, not ", TypeName(messages), "."));
  }
  if (messages.empty() || messages.size() > kMaxMessages) {
    return InvalidParam("messages", absl::StrCat("'messages' must hold 1 to ", kMaxMessages,
                                                 " messages, holds ", messages.size(), "."));
  }
  Json normal = Json::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    Json message;
    if (auto error = ReadMessage(messages[i], absl::StrCat("messages[", i, "]"), &message)) {
      return error;
    }
    normal.push_back(std::move(message));
  }
  *out = normal.dump();
  return std::nullopt;
}

}  // namespace baton::router
