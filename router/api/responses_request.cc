// From a request for /v1/responses to a chat.
#include <utility>

#include "absl/strings/str_cat.h"
#include "router/api/chat_body.h"
#include "router/api/responses_api.h"

namespace baton::router {
namespace {

constexpr size_t kMaxInstructionBytes = size_t{1} << 30;  // the body's own limit is lower
constexpr size_t kMaxItems = 16384;

ApiError BadItem(const std::string& where, absl::string_view message) {
  return InvalidParam(where, absl::StrCat("'", where, "' ", message));
}

std::string ItemText(const Json& item, const char* member) {
  const Json value = item.value(member, Json());
  return value.is_string() ? value.get<std::string>() : "";
}

std::optional<ApiError> AddMessageItem(const Json& item, const std::string& where, ChatBody* chat) {
  std::string text;
  if (auto error = ReadParts(item.value("content", Json()), where + ".content",
                             {"input_text", "output_text", "text", "refusal"}, &text)) {
    return error;
  }
  const std::string role = ItemText(item, "role");
  if (role == "system" || role == "developer") {
    chat->AddSystem(text);
  } else if (role == "user") {
    chat->AddUser(text);
  } else if (role == "assistant") {
    chat->AddAssistant(text);
  } else {
    return BadItem(where + ".role", "must be one of user, assistant, system, developer.");
  }
  return std::nullopt;
}

std::optional<ApiError> AddItem(const Json& item, const std::string& where, ChatBody* chat) {
  if (!item.is_object()) return BadItem(where, "must be an object.");
  Json type = item.value("type", Json());
  if (type.is_null()) type = "message";
  if (!type.is_string()) return BadItem(where + ".type", "must be a string.");
  if (type == "message") return AddMessageItem(item, where, chat);
  if (type == "function_call") {
    const std::string name = ItemText(item, "name");
    if (name.empty()) return BadItem(where + ".name", "must be a string that is not empty.");
    chat->AddCall(ItemText(item, "call_id"), name, ItemText(item, "arguments"));
    return std::nullopt;
  }
  if (type == "function_call_output") {
    std::string text;
    if (auto error = ReadParts(item.value("output", Json()), where + ".output",
                               {"input_text", "output_text", "text"}, &text)) {
      return error;
    }
    chat->AddToolAnswer(ItemText(item, "call_id"), text);
    return std::nullopt;
  }
  if (type == "reasoning") {
    std::string text;
    const Json content = item.value("content", Json());
    if (!content.is_null()) {
      if (auto error = ReadParts(content, where + ".content", {"reasoning_text", "text"}, &text)) {
        return error;
      }
    }
    if (!text.empty()) chat->AddReasoning(text);
    return std::nullopt;
  }
  if (type == "item_reference") {
    return BadItem(where, "refers to an item of an earlier response; none are stored here.");
  }
  // Calls of tools that do not exist here, and their answers.
  return std::nullopt;
}

std::optional<ApiError> AddInput(FieldReader& fields, ChatBody* chat) {
  if (const auto instructions = fields.String("instructions", kMaxInstructionBytes)) {
    if (!instructions->empty()) chat->AddSystem(*instructions);
  }
  const Json* input = fields.Raw("input");
  if (input == nullptr) {
    fields.Fail("input", "is required.");
    return fields.error();
  }
  if (input->is_string()) {
    chat->AddUser(input->get<std::string>());
    return std::nullopt;
  }
  if (!input->is_array() || input->empty() || input->size() > kMaxItems) {
    return BadItem("input",
                   absl::StrCat("must be a string or a list of 1 to ", kMaxItems, " items."));
  }
  for (size_t i = 0; i < input->size(); ++i) {
    if (auto error = AddItem((*input)[i], absl::StrCat("input[", i, "]"), chat)) return error;
  }
  if (!chat->has_messages()) return BadItem("input", "has no item that is a message.");
  return std::nullopt;
}

std::optional<ApiError> AddFunctions(FieldReader& fields, ChatBody* chat) {
  if (const Json* tools = fields.Raw("tools")) {
    if (!tools->is_array()) return BadItem("tools", "must be a list.");
    for (size_t i = 0; i < tools->size(); ++i) {
      const Json& tool = (*tools)[i];
      const std::string where = absl::StrCat("tools[", i, "]");
      if (!tool.is_object()) return BadItem(where, "must be an object.");
      const Json type = tool.value("type", Json());
      if (!type.is_string()) return BadItem(where + ".type", "must be a string.");
      if (type != "function") continue;
      Json function = tool;
      function.erase("type");
      if (auto error = CheckFunction(function, where)) return error;
      chat->AddTool(function);
    }
  }
  const Json* choice = fields.Raw("tool_choice");
  if (choice == nullptr) return std::nullopt;
  if (choice->is_string()) {
    // Where all tools were ignored there is nothing left to choose from.
    if (chat->has_tools() || *choice != "auto") chat->Set("tool_choice", *choice);
    return std::nullopt;
  }
  if (!choice->is_object()) return BadItem("tool_choice", "must be a string or an object.");
  if (choice->value("type", Json()) == "function") {
    chat->Set("tool_choice",
              {{"type", "function"}, {"function", {{"name", choice->value("name", Json())}}}});
    return std::nullopt;
  }
  return BadItem("tool_choice", "is supported for functions only.");
}

// text.format, flat where the chat's response_format is nested.
std::optional<ApiError> AddTextFormat(FieldReader& fields, ChatBody* chat) {
  const Json* text = fields.Raw("text");
  if (text == nullptr) return std::nullopt;
  if (!text->is_object()) return BadItem("text", "must be an object.");
  const Json format = text->value("format", Json());
  if (format.is_null()) return std::nullopt;
  if (!format.is_object()) return BadItem("text.format", "must be an object.");
  if (format.value("type", Json()) == "json_schema") {
    chat->Set("response_format", {{"type", "json_schema"},
                                  {"json_schema", {{"schema", format.value("schema", Json())}}}});
  } else {
    chat->Set("response_format", format);
  }
  return std::nullopt;
}

std::optional<ApiError> AddEffort(FieldReader& fields, ChatBody* chat) {
  const Json* reasoning = fields.Raw("reasoning");
  if (reasoning == nullptr) return std::nullopt;
  if (!reasoning->is_object()) return BadItem("reasoning", "must be an object.");
  const Json effort = reasoning->value("effort", Json());
  if (!effort.is_null()) chat->Set("reasoning_effort", effort);
  return std::nullopt;
}

// Asked for by number, or by name in `include`.
std::optional<ApiError> AddLogprobs(FieldReader& fields, ChatBody* chat) {
  const int64_t top = fields.Integer("top_logprobs", 0, kMaxTopLogprobs).value_or(0);
  bool included = false;
  if (const Json* include = fields.Raw("include")) {
    if (!include->is_array()) return BadItem("include", "must be a list.");
    for (const Json& name : *include) included |= name == "message.output_text.logprobs";
  }
  if (top > 0 || included) {
    chat->Set("logprobs", true);
    chat->Set("top_logprobs", top);
  }
  return std::nullopt;
}

void RefuseState(FieldReader& fields) {
  for (const char* name : {"previous_response_id", "conversation", "prompt"}) {
    if (fields.Raw(name) != nullptr) {
      fields.Fail(name, "is not supported: nothing is stored between requests.");
    }
  }
  if (fields.Boolean("background").value_or(false)) {
    fields.Fail("background", "is not supported: nothing is stored between requests.");
  }
}

// What a response repeats of its request, with the defaults.
Json Told(const Json& body, const ApiRequest& request) {
  Json told = {{"instructions", nullptr},
               {"max_output_tokens", nullptr},
               {"max_tool_calls", nullptr},
               {"metadata", Json::object()},
               {"parallel_tool_calls", true},
               {"previous_response_id", nullptr},
               {"reasoning", {{"effort", nullptr}, {"summary", nullptr}}},
               {"service_tier", "default"},
               {"store", false},
               {"temperature", request.generation.sampling.temperature()},
               {"text", {{"format", {{"type", "text"}}}}},
               {"tool_choice", "auto"},
               {"tools", Json::array()},
               {"top_logprobs", request.shape.top_logprobs},
               {"top_p", request.generation.sampling.top_p()},
               {"truncation", "disabled"},
               {"user", nullptr}};
  for (const char* name :
       {"instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "prompt_cache_key",
        "safety_identifier", "text", "tool_choice", "tools", "user"}) {
    const auto value = body.find(name);
    if (value != body.end() && !value->is_null()) told[name] = *value;
  }
  if (!told["text"].contains("format")) told["text"]["format"] = {{"type", "text"}};
  const auto reasoning = body.find("reasoning");
  if (reasoning != body.end() && reasoning->is_object()) told["reasoning"].update(*reasoning);
  return told;
}

}  // namespace

std::optional<ApiError> ParseResponsesRequest(const Json& body, int32_t vocab_size,
                                              ApiRequest* request) {
  FieldReader fields(body);
  ChatBody chat;
  RefuseState(fields);
  const auto metadata = fields.Raw("metadata");
  if (metadata != nullptr && !metadata->is_object()) fields.Fail("metadata", "must be an object.");
  fields.Take(AddInput(fields, &chat));
  fields.Take(AddFunctions(fields, &chat));
  fields.Take(AddTextFormat(fields, &chat));
  fields.Take(AddEffort(fields, &chat));
  if (const auto tokens = fields.Integer("max_output_tokens", 1, INT32_MAX)) {
    chat.Set("max_completion_tokens", *tokens);
  }
  fields.Take(AddLogprobs(fields, &chat));
  fields.Boolean("store");  // nothing is stored either way
  if (fields.error()) return fields.error();
  chat.Copy(body, {"model", "stream", "temperature", "top_p", "parallel_tool_calls", "user", "seed",
                   "top_k", "min_p", "repetition_penalty", "ignore_eos", "min_tokens", "priority",
                   "cache_salt", "speculate", "chat_template_kwargs", "include_reasoning"});
  if (auto error = ParseChatRequest(chat.Take(), vocab_size, request)) {
    return Renamed(*std::move(error), {{"max_completion_tokens", "max_output_tokens"},
                                       {"response_format.json_schema", "text.format"},
                                       {"response_format", "text.format"},
                                       {"reasoning_effort", "reasoning.effort"},
                                       {"messages", "input"}});
  }
  request->dialect = Dialect::kResponses;
  request->told = Told(body, *request);
  return std::nullopt;
}

}  // namespace baton::router
