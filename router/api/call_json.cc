#include "router/api/call_json.h"

#include "absl/strings/ascii.h"
#include "router/json_text.h"

namespace baton::router {
namespace {

// What a JSON string literal says; empty for anything else.
std::string StringOf(const std::string& literal) {
  const Json value = Json::parse(literal, nullptr, /*allow_exceptions=*/false);
  return value.is_string() ? value.get<std::string>() : "";
}

}  // namespace

bool JsonNesting::Closes(char c) {
  if (escaped_) {
    escaped_ = false;
    return false;
  }
  if (in_string_) {
    escaped_ = c == '\\';
    in_string_ = c != '"';
    return !in_string_ && depth_ == 0;
  }
  in_string_ = c == '"';
  if (c == '{' || c == '[') ++depth_;
  return (c == '}' || c == ']') && --depth_ <= 0;
}

size_t CallJson::Push(absl::string_view text, TurnParts* parts) {
  size_t taken = 0;
  while (taken < text.size() && state_ == State::kMore) {
    const char c = text[taken];
    if (!Take(c, parts)) {
      state_ = State::kBroken;
      break;
    }
    ++taken;
    if (!called_) raw_.push_back(c);
  }
  if (called_) raw_.clear();
  return taken;
}

bool CallJson::Take(char c, TurnParts* parts) {
  const bool space = absl::ascii_isspace(static_cast<unsigned char>(c));
  if (place_ == Place::kInValue) return TakeInValue(c, parts);
  if (place_ == Place::kKey) {
    key_.push_back(c);
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      key_ = StringOf(key_);
      place_ = Place::kColon;
    }
    return true;
  }
  if (space) return true;
  switch (place_) {
    case Place::kOpen:
      place_ = Place::kKeyOrEnd;
      return c == '{';
    case Place::kKeyOrEnd:
      if (c == '}') {
        End(parts);
        return true;
      }
      key_ = "\"";
      place_ = Place::kKey;
      return c == '"';
    case Place::kColon:
      place_ = Place::kValue;
      return c == ':';
    case Place::kValue:
      return BeginValue(c, parts);
    default:
      if (c == '}') {
        End(parts);
        return true;
      }
      place_ = Place::kKeyOrEnd;
      return c == ',';
  }
}

bool CallJson::BeginValue(char c, TurnParts* parts) {
  if (c == ',' || c == '}' || c == ']' || c == ':') return false;
  place_ = Place::kInValue;
  value_.clear();
  nesting_ = JsonNesting();
  scalar_ = c != '{' && c != '[' && c != '"';
  streams_ = InArguments() && c == '{' && !name_.empty() && !called_;
  if (streams_) Call(parts);
  return TakeInValue(c, parts);
}

bool CallJson::TakeInValue(char c, TurnParts* parts) {
  const bool space = absl::ascii_isspace(static_cast<unsigned char>(c));
  if (scalar_ && (space || c == ',' || c == '}' || c == ']')) {
    EndValue(parts);
    return Take(c, parts);
  }
  if (streams_) {
    AppendText(TurnPart::Kind::kArguments, absl::string_view(&c, 1), parts);
  } else {
    value_.push_back(c);
  }
  if (!scalar_ && nesting_.Closes(c)) EndValue(parts);
  return true;
}

void CallJson::EndValue(TurnParts* parts) {
  place_ = Place::kAfterValue;
  if (streams_) {
    streams_ = false;
  } else if (InArguments()) {
    arguments_ = value_;
    if (!value_.empty() && value_[0] == '"') arguments_ = StringOf(value_);
    if (arguments_.empty() || arguments_ == "null") arguments_ = "{}";
    if (!name_.empty() && !called_) Call(parts);
  } else if (key_ == "name" || (key_ == "function" && name_.empty())) {
    name_ = StringOf(value_);
    if (!name_.empty() && !arguments_.empty() && !called_) Call(parts);
  }
  value_.clear();
}

void CallJson::Call(TurnParts* parts) {
  called_ = true;
  parts->push_back({TurnPart::Kind::kCall, name_, ""});
  AppendText(TurnPart::Kind::kArguments, arguments_, parts);
}

void CallJson::End(TurnParts* parts) {
  state_ = State::kDone;
  if (called_) return;
  if (name_.empty() || needs_arguments_) {
    state_ = State::kBroken;
    return;
  }
  arguments_ = "{}";
  Call(parts);
}

}  // namespace baton::router
