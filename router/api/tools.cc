#include "router/api/tools.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace baton::router {
namespace {

constexpr size_t kMaxFunctionNameBytes = 128;

bool IsName(const Json& value) {
  if (!value.is_string()) return false;
  const std::string& name = value.get_ref<const std::string&>();
  return !name.empty() && name.size() <= kMaxFunctionNameBytes &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' ||
                  c == '.';
         });
}

void ReadList(FieldReader& fields, const Json& tools, ToolOffer* offer) {
  if (!tools.is_array() || tools.empty() || tools.size() > kMaxTools) {
    return fields.Fail("tools", absl::StrCat("must be a list of 1 to ", kMaxTools, " tools."));
  }
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string where = absl::StrCat("tools[", i, "]");
    const Json& tool = tools[i];
    if (!tool.is_object() || tool.value("type", Json()) != "function") {
      return fields.Fail(where, "must be an object with the type 'function'.");
    }
    const auto function = tool.find("function");
    if (function == tool.end()) return fields.Fail(where + ".function", "is required.");
    fields.Take(CheckFunction(*function, where + ".function"));
    offer->tools.push_back(tool);
  }
}

bool Offers(const ToolOffer& offer, const Json& name) {
  return std::any_of(offer.tools.begin(), offer.tools.end(),
                     [&](const Json& tool) { return tool["function"]["name"] == name; });
}

void ReadChoice(FieldReader& fields, const Json& choice, ToolOffer* offer) {
  if (choice == "none") {
    offer->choice = ToolOffer::Choice::kNone;
  } else if (choice == "auto") {
    offer->choice = ToolOffer::Choice::kAuto;
  } else if (choice == "required") {
    offer->choice = ToolOffer::Choice::kRequired;
  } else if (choice.is_object() && choice.value("type", Json()) == "function" &&
             choice.contains("function") && choice["function"].is_object()) {
    const Json name = choice["function"].value("name", Json());
    if (!name.is_string() || !Offers(*offer, name)) {
      return fields.Fail("tool_choice", "must name one of 'tools'.");
    }
    offer->choice = ToolOffer::Choice::kRequired;
    offer->named = name.get<std::string>();
  } else {
    fields.Fail("tool_choice",
                "must be 'none', 'auto', 'required' or {\"type\":\"function\",\"function\":"
                "{\"name\":...}}.");
  }
}

// For models whose template knows no tools; the marks are those of the Hermes models.
std::string Words(const ToolOffer& offer) {
  std::string text =
      "You can call functions. Each line is one function with the JSON schema of its "
      "arguments:\n<tools>\n";
  for (const Json& tool : offer.tools) absl::StrAppend(&text, tool["function"].dump(), "\n");
  return text +
         "</tools>\nTo call a function, answer with its name and arguments as one JSON object "
         "between marks:\n<tool_call>\n{\"name\": \"...\", \"arguments\": {...}}\n</tool_call>";
}

// The arguments of a call in the history as an object, which is what templates expect.
Json ArgumentsOf(const Json& function) {
  const auto arguments = function.find("arguments");
  if (arguments == function.end() || arguments->is_null()) return Json::object();
  if (!arguments->is_string()) return *arguments;
  Json parsed = Json::parse(arguments->get<std::string>(), nullptr, /*allow_exceptions=*/false);
  return parsed.is_discarded() ? *arguments : parsed;
}

// A message with calls, or the answer to one, in the words of Words().
void PutIntoWords(Json* message) {
  if ((*message)["role"] == "tool") {
    *message = {
        {"role", "user"},
        {"content", absl::StrCat("<tool_response>\n", (*message)["content"].get<std::string>(),
                                 "\n</tool_response>")}};
    return;
  }
  const auto calls = message->find("tool_calls");
  if (calls == message->end()) return;
  std::string text = (*message)["content"].get<std::string>();
  for (const Json& call : *calls) {
    const Json written = {{"name", call["function"]["name"]},
                          {"arguments", ArgumentsOf(call["function"])}};
    absl::StrAppend(&text, text.empty() ? "" : "\n", "<tool_call>\n", written.dump(),
                    "\n</tool_call>");
  }
  (*message)["content"] = text;
  message->erase("tool_calls");
}

}  // namespace

bool ToolOffer::enforced() const {
  if (choice == Choice::kRequired) return true;
  return choice == Choice::kAuto && std::any_of(tools.begin(), tools.end(), [](const Json& tool) {
           return tool["function"].value("strict", Json()) == true;
         });
}

std::optional<ApiError> CheckFunction(const Json& function, const std::string& where,
                                      const std::string& schema) {
  const auto refuse = [&](const std::string& member, absl::string_view message) {
    const std::string field = absl::StrCat(where, member);
    return InvalidParam(field, absl::StrCat("'", field, "' ", message));
  };
  if (!function.is_object()) return refuse("", "must be an object.");
  if (!IsName(function.value("name", Json()))) {
    return refuse(".name", absl::StrCat("must be 1 to ", kMaxFunctionNameBytes,
                                        " characters of [A-Za-z0-9_.-]."));
  }
  const auto description = function.find("description");
  if (description != function.end() && !description->is_null() && !description->is_string()) {
    return refuse(".description", "must be a string.");
  }
  const auto parameters = function.find("parameters");
  if (parameters != function.end() && !parameters->is_null() && !parameters->is_object()) {
    return refuse("." + schema, "must be a JSON schema.");
  }
  if (parameters != function.end() && parameters->is_object() && parameters->contains("type") &&
      (*parameters)["type"] != "object") {
    return refuse("." + schema + ".type", "must be 'object': arguments have names.");
  }
  const auto strict = function.find("strict");
  if (strict != function.end() && !strict->is_null() && !strict->is_boolean()) {
    return refuse(".strict", "must be true or false.");
  }
  return std::nullopt;
}

ToolOffer ReadTools(FieldReader& fields) {
  ToolOffer offer;
  if (const Json* tools = fields.Raw("tools")) {
    ReadList(fields, *tools, &offer);
    offer.choice = ToolOffer::Choice::kAuto;
  }
  offer.parallel = fields.Boolean("parallel_tool_calls").value_or(true);
  if (const Json* choice = fields.Raw("tool_choice")) {
    if (offer.tools.empty() && *choice != "none") {
      fields.Fail("tool_choice", "is allowed only together with 'tools'.");
    } else {
      ReadChoice(fields, *choice, &offer);
    }
  }
  return offer;
}

void TellTools(const TurnFormat& format, const ToolOffer& offer, Prompt* prompt) {
  // Most chats have nothing to do with tools; theirs are not read again.
  const bool history = prompt->text.find("\"tool_calls\":") != std::string::npos ||
                       prompt->text.find("\"role\":\"tool\"") != std::string::npos;
  if (!offer.offered() && !history) return;
  Json messages = Json::parse(prompt->text);
  // DeepSeek's template joins the arguments to its own text.
  const bool as_text = format.tools == ToolStyle::kDeepSeek;
  for (Json& message : messages) {
    if (!format.template_has_tools) {
      PutIntoWords(&message);
    } else if (message.contains("tool_calls")) {
      for (Json& call : message["tool_calls"]) {
        const Json arguments = ArgumentsOf(call["function"]);
        call["function"]["arguments"] =
            as_text && !arguments.is_string() ? Json(arguments.dump()) : arguments;
      }
    }
  }
  if (offer.offered() && format.template_has_tools) {
    Json variables = Json::parse(prompt->variables);
    variables["tools"] = offer.tools;
    prompt->variables = variables.dump();
  } else if (offer.offered()) {
    if (messages[0]["role"] != "system") {
      messages.insert(messages.begin(), Json{{"role", "system"}, {"content", ""}});
    }
    const std::string system = messages[0]["content"].get<std::string>();
    messages[0]["content"] = absl::StrCat(system, system.empty() ? "" : "\n\n", Words(offer));
  }
  prompt->text = messages.dump();
}

}  // namespace baton::router
