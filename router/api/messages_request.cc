// From a request for /v1/messages to a chat.
#include <utility>

#include "absl/strings/str_cat.h"
#include "router/api/chat_body.h"
#include "router/api/messages_api.h"

namespace baton::router {
namespace {

ApiError BadField(const std::string& where, absl::string_view message) {
  return InvalidParam(where, absl::StrCat("'", where, "' ", message));
}

// Appends the string that `member` of a block is.
std::optional<ApiError> ReadText(const Json& block, const std::string& where, const char* member,
                                 std::string* text) {
  const Json value = block.value(member, Json());
  if (!value.is_string()) return BadField(absl::StrCat(where, ".", member), "must be a string.");
  *text += value.get<std::string>();
  return std::nullopt;
}

// `text` stays absent where no block is of type text.
std::optional<ApiError> AddUserBlock(const Json& block, const std::string& where,
                                     std::optional<std::string>* text, ChatBody* chat) {
  const Json type = block.value("type", Json());
  if (type == "text") {
    if (!*text) text->emplace();
    return ReadText(block, where, "text", &**text);
  }
  if (type != "tool_result") {
    return BadField(where, "must be of type text or tool_result: this model takes nothing else.");
  }
  std::string answer, call_id;
  if (auto error = ReadText(block, where, "tool_use_id", &call_id)) return error;
  const Json content = block.value("content", Json());
  if (!content.is_null()) {
    if (auto error = ReadParts(content, where + ".content", {"text"}, &answer)) return error;
  }
  if (block.value("is_error", Json()) == true) answer = "Error: " + answer;
  chat->AddToolAnswer(call_id, answer);
  return std::nullopt;
}

std::optional<ApiError> AddAssistantBlock(const Json& block, const std::string& where,
                                          ChatBody* chat) {
  const Json type = block.value("type", Json());
  std::string text;
  if (type == "text") {
    if (auto error = ReadText(block, where, "text", &text)) return error;
    chat->AddAssistant(text);
  } else if (type == "thinking") {
    if (auto error = ReadText(block, where, "thinking", &text)) return error;
    chat->AddReasoning(text);
  } else if (type == "tool_use") {
    std::string id;
    if (auto error = ReadText(block, where, "id", &id)) return error;
    if (auto error = ReadText(block, where, "name", &text)) return error;
    if (text.empty()) return BadField(where + ".name", "must not be empty.");
    const Json input = block.value("input", Json::object());
    if (!input.is_object()) return BadField(where + ".input", "must be an object.");
    chat->AddCall(id, text, input.dump());
  } else if (type != "redacted_thinking") {
    return BadField(where, "must be of type text, thinking or tool_use.");
  }
  return std::nullopt;
}

std::optional<ApiError> AddOneMessage(const Json& message, const std::string& where,
                                      ChatBody* chat) {
  if (!message.is_object()) return BadField(where, "must be an object.");
  const Json role = message.value("role", Json());
  const Json content = message.value("content", Json());
  const std::string at = where + ".content";
  if (role == "system") {
    std::string text;
    if (auto error = ReadParts(content, at, {"text"}, &text)) return error;
    chat->AddSystem(text);
    return std::nullopt;
  }
  if (role != "user" && role != "assistant") {
    return BadField(where + ".role", "must be user or assistant.");
  }
  if (content.is_string()) {
    const std::string text = content.get<std::string>();
    role == "user" ? chat->AddUser(text) : chat->AddAssistant(text);
    return std::nullopt;
  }
  if (!content.is_array() || content.empty()) {
    return BadField(at, "must be a string or a list of at least one block.");
  }
  // Its turn is there also where none of its blocks is shown.
  if (role == "assistant") chat->AddAssistant("");
  std::optional<std::string> text;
  for (size_t i = 0; i < content.size(); ++i) {
    const std::string block_at = absl::StrCat(at, "[", i, "]");
    if (!content[i].is_object()) return BadField(block_at, "must be an object.");
    auto error = role == "user" ? AddUserBlock(content[i], block_at, &text, chat)
                                : AddAssistantBlock(content[i], block_at, chat);
    if (error) return error;
  }
  if (text) chat->AddUser(*text);
  return std::nullopt;
}

std::optional<ApiError> AddMessages(FieldReader& fields, ChatBody* chat) {
  if (const Json* system = fields.Raw("system")) {
    std::string text;
    if (auto error = ReadParts(*system, "system", {"text"}, &text)) return error;
    if (!text.empty()) chat->AddSystem(text);
  }
  const Json* messages = fields.Raw("messages");
  if (messages == nullptr) return BadField("messages", "is required.");
  if (!messages->is_array() || messages->empty() || messages->size() > kMaxMessages) {
    return BadField("messages",
                    absl::StrCat("must be a list of 1 to ", kMaxMessages, " messages."));
  }
  for (size_t i = 0; i < messages->size(); ++i) {
    if (auto error = AddOneMessage((*messages)[i], absl::StrCat("messages[", i, "]"), chat)) {
      return error;
    }
  }
  // An answer that has been begun is to be gone on with.
  const Json& last = messages->back();
  if (last["role"] == "assistant") chat->Set("continue_final_message", true);
  return std::nullopt;
}

std::optional<ApiError> AddMessageTools(FieldReader& fields, ChatBody* chat) {
  if (const Json* tools = fields.Raw("tools")) {
    if (!tools->is_array()) return BadField("tools", "must be a list.");
    for (size_t i = 0; i < tools->size(); ++i) {
      const Json& tool = (*tools)[i];
      const std::string where = absl::StrCat("tools[", i, "]");
      if (!tool.is_object()) return BadField(where, "must be an object.");
      if (!tool.contains("input_schema")) {
        // Tools that Anthropic runs itself are told by their type.
        const Json type = tool.value("type", Json());
        if (type.is_string() && type != "custom") continue;
      }
      if (!tool.value("input_schema", Json()).is_object()) {
        return BadField(where + ".input_schema", "must be a JSON schema.");
      }
      Json function = {{"name", tool.value("name", Json())}, {"parameters", tool["input_schema"]}};
      for (const char* member : {"description", "strict"}) {
        if (tool.contains(member)) function[member] = tool[member];
      }
      if (auto error = CheckFunction(function, where, "input_schema")) return error;
      chat->AddTool(function);
    }
  }
  const Json* choice = fields.Raw("tool_choice");
  if (choice == nullptr) return std::nullopt;
  if (!choice->is_object()) return BadField("tool_choice", "must be an object.");
  if (choice->value("disable_parallel_tool_use", Json()) == true) {
    chat->Set("parallel_tool_calls", false);
  }
  const Json type = choice->value("type", Json());
  if (type == "auto" || type == "none") {
    if (chat->has_tools()) chat->Set("tool_choice", type);
  } else if (type == "any") {
    chat->Set("tool_choice", "required");
  } else if (type == "tool") {
    chat->Set("tool_choice",
              {{"type", "function"}, {"function", {{"name", choice->value("name", Json())}}}});
  } else {
    return BadField("tool_choice.type", "must be one of auto, any, tool, none.");
  }
  return std::nullopt;
}

// The schema of output_config.format, or of output_format as it was called before.
std::optional<ApiError> AddOutputFormat(FieldReader& fields, ChatBody* chat) {
  const Json* format = fields.Raw("output_format");
  if (const Json* config = fields.Raw("output_config")) {
    if (!config->is_object()) return BadField("output_config", "must be an object.");
    if (config->contains("format")) format = &(*config)["format"];
    const Json effort = config->value("effort", Json());
    if (!effort.is_null()) chat->Set("reasoning_effort", effort);
  }
  if (format == nullptr || format->is_null()) return std::nullopt;
  if (!format->is_object() || format->value("type", Json()) != "json_schema") {
    return BadField("output_config.format", "must be an object of type json_schema.");
  }
  chat->Set("response_format", {{"type", "json_schema"},
                                {"json_schema", {{"schema", format->value("schema", Json())}}}});
  return std::nullopt;
}

std::optional<ApiError> AddThinking(FieldReader& fields, ChatBody* chat) {
  const Json* thinking = fields.Raw("thinking");
  if (thinking == nullptr) return std::nullopt;
  if (!thinking->is_object()) return BadField("thinking", "must be an object.");
  const Json type = thinking->value("type", Json());
  if (type != "enabled" && type != "disabled" && type != "adaptive") {
    return BadField("thinking.type", "must be one of enabled, disabled, adaptive.");
  }
  chat->Set("chat_template_kwargs", {{"enable_thinking", type != "disabled"}});
  return std::nullopt;
}

}  // namespace

std::optional<ApiError> ParseMessagesRequest(const Json& body, int32_t vocab_size, bool count,
                                             ApiRequest* request) {
  FieldReader fields(body);
  ChatBody chat;
  if (!fields.Raw("model")) fields.Fail("model", "is required.");
  fields.Take(AddMessages(fields, &chat));
  fields.Take(AddMessageTools(fields, &chat));
  fields.Take(AddOutputFormat(fields, &chat));
  fields.Take(AddThinking(fields, &chat));
  const Json* metadata = fields.Raw("metadata");
  if (metadata != nullptr && !metadata->is_object()) fields.Fail("metadata", "must be an object.");
  const auto max_tokens = fields.Integer("max_tokens", 1, INT32_MAX);
  if (max_tokens) {
    chat.Set("max_tokens", *max_tokens);
  } else if (!count) {
    fields.Fail("max_tokens", "is required.");
  }
  const Json* stops = fields.Raw("stop_sequences");
  if (stops != nullptr && !stops->is_array()) fields.Fail("stop_sequences", "must be a list.");
  if (fields.error()) return fields.error();
  if (stops != nullptr) chat.Set("stop", *stops);
  chat.Copy(body, {"model", "stream", "temperature", "top_p", "top_k", "seed", "ignore_eos",
                   "min_tokens", "priority", "cache_salt", "speculate"});
  if (auto error = ParseChatRequest(chat.Take(), vocab_size, request)) {
    return Renamed(*std::move(error), {{"stop", "stop_sequences"},
                                       {"reasoning_effort", "output_config.effort"},
                                       {"response_format", "output_config.format"}});
  }
  request->dialect = Dialect::kMessages;
  return std::nullopt;
}

}  // namespace baton::router
