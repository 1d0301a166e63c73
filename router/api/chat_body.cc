#include "router/api/chat_body.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace baton::router {

void ChatBody::AddSystem(const std::string& text) {
  if (messages_.size() == 1 && messages_[0]["role"] == "system") {
    messages_[0]["content"] =
        absl::StrCat(messages_[0]["content"].get<std::string>(), "\n\n", text);
  } else {
    messages_.push_back({{"role", "system"}, {"content", text}});
  }
}

void ChatBody::AddUser(const std::string& text) {
  messages_.push_back({{"role", "user"}, {"content", text}});
}

Json& ChatBody::Assistant() {
  if (messages_.empty() || messages_.back()["role"] != "assistant") {
    messages_.push_back({{"role", "assistant"}, {"content", ""}});
  }
  return messages_.back();
}

void ChatBody::AddAssistant(const std::string& text) {
  Json& content = Assistant()["content"];
  content = content.get<std::string>() + text;
}

void ChatBody::AddReasoning(const std::string& text) {
  Json& message = Assistant();
  message["reasoning_content"] = message.value("reasoning_content", std::string()) + text;
}

void ChatBody::AddCall(const std::string& id, const std::string& name,
                       const std::string& arguments) {
  Assistant()["tool_calls"].push_back(
      {{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}});
}

void ChatBody::AddToolAnswer(const std::string& call_id, const std::string& text) {
  messages_.push_back({{"role", "tool"}, {"tool_call_id", call_id}, {"content", text}});
}

void ChatBody::AddTool(const Json& function) {
  tools_.push_back({{"type", "function"}, {"function", function}});
}

void ChatBody::Copy(const Json& from, std::initializer_list<const char*> fields) {
  for (const char* field : fields) {
    const auto value = from.find(field);
    if (value != from.end()) body_[field] = *value;
  }
}

Json ChatBody::Take() {
  body_["messages"] = std::move(messages_);
  if (has_tools()) body_["tools"] = std::move(tools_);
  return std::move(body_);
}

std::optional<ApiError> ReadParts(const Json& content, const std::string& where,
                                  std::initializer_list<absl::string_view> types,
                                  std::string* text) {
  if (content.is_string()) {
    *text += content.get<std::string>();
    return std::nullopt;
  }
  if (!content.is_array()) {
    return InvalidParam(where, absl::StrCat("'", where, "' must be a string or a list of parts."));
  }
  for (size_t i = 0; i < content.size(); ++i) {
    const Json& part = content[i];
    const std::string at = absl::StrCat(where, "[", i, "]");
    const Json type = part.is_object() ? part.value("type", Json()) : Json();
    const bool known = type.is_string() && std::find(types.begin(), types.end(),
                                                     type.get<std::string>()) != types.end();
    if (!known) {
      return InvalidParam(
          at, absl::StrCat("'", at, "': only parts of text are supported, with a type."));
    }
    const Json words = part.contains("refusal") ? part["refusal"] : part.value("text", Json());
    if (!words.is_string()) {
      return InvalidParam(at, absl::StrCat("'", at, ".text' must be a string."));
    }
    *text += words.get<std::string>();
  }
  return std::nullopt;
}

ApiError Renamed(ApiError error,
                 std::initializer_list<std::pair<absl::string_view, absl::string_view>> names) {
  for (const auto& [chat, own] : names) {
    if (!absl::StartsWith(error.param, chat)) continue;
    error.message = absl::StrReplaceAll(error.message, {{chat, own}});
    error.param = absl::StrCat(own, error.param.substr(chat.size()));
    break;
  }
  return error;
}

}  // namespace baton::router
