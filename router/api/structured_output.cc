#include "router/api/structured_output.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "router/api/structural_tag.h"

namespace baton::router {
namespace {

constexpr size_t kMaxSourceBytes = 256 * 1024;
constexpr size_t kMaxChoiceCount = 4096;

// Collects the constraints of one request; two are one too many.
class FormReader {
 public:
  explicit FormReader(FieldReader& fields) : fields_(fields) {}

  void Set(v1::Grammar::Kind kind, std::string source, const std::string& field) {
    if (form_) {
      return fields_.Take(InvalidParam(
          field, absl::StrCat("'", field, "' and '", form_->field,
                              "' both constrain the answer; only one of them is allowed.")));
    }
    form_.emplace();
    form_->grammar.set_kind(kind);
    form_->grammar.set_source(std::move(source));
    form_->field = field;
  }

  void Fail(const std::string& field, absl::string_view message) {
    fields_.Take(InvalidParam(field, absl::StrCat("'", field, "' ", message)));
  }

  // A schema as an object, as true, or as JSON text.
  void Schema(const Json& value, const std::string& field) {
    if (value.is_string()) {
      const std::string& text = value.get_ref<const std::string&>();
      return Set(v1::Grammar::JSON_SCHEMA, text, field);
    }
    if (!value.is_object() && value != true) return Fail(field, "must be a JSON schema.");
    Set(v1::Grammar::JSON_SCHEMA, value.dump(), field);
  }

  void Text(v1::Grammar::Kind kind, const Json& value, const std::string& field) {
    if (!value.is_string() || value.get_ref<const std::string&>().empty()) {
      return Fail(field, "must be a string that is not empty.");
    }
    if (value.get_ref<const std::string&>().size() > kMaxSourceBytes) {
      return Fail(field, absl::StrCat("must have at most ", kMaxSourceBytes, " bytes."));
    }
    Set(kind, value.get<std::string>(), field);
  }

  void Choice(const Json& value, const std::string& field) {
    if (!value.is_array() || value.empty() || value.size() > kMaxChoiceCount) {
      return Fail(field, absl::StrCat("must be a list of 1 to ", kMaxChoiceCount, " strings."));
    }
    std::string regex;
    for (const Json& entry : value) {
      if (!entry.is_string() || entry.get_ref<const std::string&>().empty()) {
        return Fail(field, "must hold strings that are not empty.");
      }
      absl::StrAppend(&regex, regex.empty() ? "(" : "|", RegexLiteral(entry.get<std::string>()));
    }
    Set(v1::Grammar::REGEX, regex + ")", field);
  }

  // As an object, or as its JSON text.
  void StructuralTag(const Json& value, const std::string& field) {
    Json tag = value;
    if (tag.is_string()) tag = Json::parse(value.get<std::string>(), nullptr, false);
    if (!tag.is_object()) return Fail(field, "must be an object.");
    absl::StatusOr<std::string> lark = StructuralTagLark(tag);
    if (!lark.ok()) return Fail(field, std::string(lark.status().message()));
    Set(v1::Grammar::LARK, *std::move(lark), field);
  }

  void AnyObject(const std::string& field) {
    Set(v1::Grammar::JSON_SCHEMA, "{\"type\":\"object\"}", field);
  }

  std::optional<AnswerForm> Take() { return std::move(form_); }

 private:
  FieldReader& fields_;
  std::optional<AnswerForm> form_;
};

void ReadResponseFormat(FieldReader& fields, FormReader& form) {
  const Json* format = fields.Raw("response_format");
  if (format == nullptr) return;
  const std::string field = "response_format";
  if (!format->is_object() || !format->contains("type") || !(*format)["type"].is_string()) {
    return form.Fail(field, "must be an object with a 'type'.");
  }
  const std::string type = (*format)["type"].get<std::string>();
  if (type == "text") return;
  if (type == "json_object") {
    // llama.cpp's clients put a schema beside it.
    if (format->contains("schema")) return form.Schema((*format)["schema"], field + ".schema");
    return form.AnyObject(field);
  }
  if (type == "structural_tag") return form.StructuralTag(*format, field);
  if (type != "json_schema") {
    return form.Fail(field + ".type",
                     "must be one of text, json_object, json_schema, structural_tag.");
  }
  const auto outer = format->find("json_schema");
  if (outer == format->end() || !outer->is_object()) {
    return form.Fail(field + ".json_schema", "is required and must be an object.");
  }
  const auto schema = outer->find("schema");
  if (schema == outer->end()) return form.Fail(field + ".json_schema.schema", "is required.");
  form.Schema(*schema, field + ".json_schema.schema");
}

// The members of structured_outputs, and, with the prefix guided_, the older fields.
void ReadMember(const std::string& name, const Json& value, const std::string& field,
                FormReader& form) {
  if (name == "json") return form.Schema(value, field);
  if (name == "regex") return form.Text(v1::Grammar::REGEX, value, field);
  if (name == "choice") return form.Choice(value, field);
  if (name == "grammar") return form.Text(v1::Grammar::LARK, value, field);
  if (name == "structural_tag") return form.StructuralTag(value, field);
  if (name == "json_object") {
    if (!value.is_boolean()) return form.Fail(field, "must be true or false.");
    if (value == true) form.AnyObject(field);
    return;
  }
  if (value != false) form.Fail(field, "is not supported.");
}

void ReadStructuredOutputs(FieldReader& fields, FormReader& form) {
  const Json* outputs = fields.Raw("structured_outputs");
  if (outputs == nullptr) return;
  if (!outputs->is_object()) return form.Fail("structured_outputs", "must be an object.");
  for (const auto& [name, value] : outputs->items()) {
    if (!value.is_null()) ReadMember(name, value, "structured_outputs." + name, form);
  }
}

}  // namespace

std::string RegexLiteral(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (absl::string_view("\\.+*?()|[]{}^$").find(c) != absl::string_view::npos) {
      out.push_back('\\');
    }
    out.push_back(c);
  }
  return out;
}

std::optional<AnswerForm> ReadAnswerForm(FieldReader& fields) {
  FormReader form(fields);
  ReadResponseFormat(fields, form);
  for (const char* name : {"json", "regex", "choice", "grammar"}) {
    const std::string field = absl::StrCat("guided_", name);
    if (const Json* value = fields.Raw(field)) ReadMember(name, *value, field, form);
  }
  if (const Json* tag = fields.Raw("structural_tag")) form.StructuralTag(*tag, "structural_tag");
  ReadStructuredOutputs(fields, form);
  return form.Take();
}

absl::StatusOr<models::text::GrammarCompiler*> GrammarCheck::Compiler() {
  MutexLock lock(mutex_);
  if (compiler_ == nullptr) {
    BATON_ASSIGN_OR_RETURN(compiler_, models::text::GrammarCompiler::Create(tokenizer_));
  }
  return compiler_.get();
}

std::optional<ApiError> GrammarCheck::Check(const v1::Grammar& grammar, absl::string_view field) {
  models::text::GrammarKind kind = models::text::GrammarKind::kJsonSchema;
  switch (grammar.kind()) {
    case v1::Grammar::JSON_SCHEMA:
      break;
    case v1::Grammar::REGEX:
      kind = models::text::GrammarKind::kRegex;
      break;
    case v1::Grammar::LARK:
      kind = models::text::GrammarKind::kLark;
      break;
    default:
      return InvalidParam(field, absl::StrCat("'", field, "' must be of a known kind."));
  }
  const absl::StatusOr<models::text::GrammarCompiler*> compiler = Compiler();
  if (!compiler.ok()) {
    return ApiError{.http_status = 501,
                    .type = "not_supported_error",
                    .message = std::string(compiler.status().message()),
                    .param = std::string(field),
                    .code = "not_supported"};
  }
  const auto matcher = (*compiler)->Compile(kind, grammar.source());
  if (matcher.ok()) return std::nullopt;
  return InvalidParam(
      field, absl::StrCat("'", field, "' cannot be enforced: ", matcher.status().message(), "."));
}

}  // namespace baton::router
