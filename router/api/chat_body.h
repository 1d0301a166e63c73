// A chat request under construction: how the other dialects say what they want in the words of
// /v1/chat/completions, which is then read as any other.
#pragma once

#include <optional>
#include <string>

#include "router/api_error.h"
#include "router/field_reader.h"

namespace baton::router {

class ChatBody {
 public:
  // System messages at the beginning become one: templates know no second.
  void AddSystem(const std::string& text);
  void AddUser(const std::string& text);
  // What one turn of the assistant is made of; neighbours join until another role speaks.
  void AddAssistant(const std::string& text);
  void AddReasoning(const std::string& text);
  void AddCall(const std::string& id, const std::string& name, const std::string& arguments);
  void AddToolAnswer(const std::string& call_id, const std::string& text);

  void AddTool(const Json& function);
  void Set(const char* field, Json value) { body_[field] = std::move(value); }
  // Copies the fields of `from` that mean the same here.
  void Copy(const Json& from, std::initializer_list<const char*> fields);

  bool has_messages() const { return !messages_.empty(); }
  bool has_tools() const { return !tools_.empty(); }
  // The finished request.
  Json Take();

 private:
  Json& Assistant();

  Json body_ = Json::object();
  Json messages_ = Json::array();
  Json tools_ = Json::array();
};

// The text of a string or of a list of parts whose type is one of `types`, joined. 400 that names
// `where` for anything else.
std::optional<ApiError> ReadParts(const Json& content, const std::string& where,
                                  std::initializer_list<absl::string_view> types,
                                  std::string* text);

// `error` in the field names of another dialect: `names` are pairs (chat's name, the dialect's).
ApiError Renamed(ApiError error,
                 std::initializer_list<std::pair<absl::string_view, absl::string_view>> names);

}  // namespace baton::router
