#include "server/config_keys.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cctype>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "proto/config.pb.h"

namespace baton::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Flags that other servers made customary.
constexpr std::pair<absl::string_view, absl::string_view> kAliases[] = {
    {"max_context", "--max-model-len"}};

std::string FlagName(const FieldDescriptor* field) {
  std::string name = absl::StrCat("--", field->name());
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string EnvironmentName(const FieldDescriptor* field) {
  std::string name = absl::StrCat("BATON_", field->name());
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

std::string SectionName(const FieldDescriptor* field) {
  return std::string(absl::StripSuffix(field->containing_type()->name(), "Config"));
}

std::string TypeName(const FieldDescriptor* field) {
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "bool";
    case FieldDescriptor::CPPTYPE_STRING:
      return "text";
    default:
      return "number";
  }
}

std::string Allowed(const FieldDescriptor* field) {
  const v1::FieldDoc& doc = field->options().GetExtension(v1::doc);
  if (doc.one_of_size() > 0) {
    std::vector<std::string> values;
    for (const std::string& value : doc.one_of()) values.push_back(value.empty() ? "\"\"" : value);
    return absl::StrJoin(values, ", ");
  }
  if (doc.has_min() && doc.has_max()) {
    return absl::StrCat(static_cast<int64_t>(doc.min()), " to ", static_cast<int64_t>(doc.max()));
  }
  return field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL ? "true or false" : "";
}

absl::Status Refused(const FieldDescriptor* field, absl::string_view value) {
  return absl::InvalidArgumentError(absl::StrCat("configuration key ", field->name(), " (",
                                                 FlagName(field), ") is '", value, "', needs ",
                                                 Allowed(field)));
}

}  // namespace

std::vector<Key> KeysOf(Message& message) {
  std::vector<Key> keys;
  const auto* descriptor = message.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      const auto nested = KeysOf(*message.GetReflection()->MutableMessage(&message, field));
      keys.insert(keys.end(), nested.begin(), nested.end());
    } else {
      keys.push_back({&message, field});
    }
  }
  return keys;
}

KeyDoc DocOf(const Key& key) {
  KeyDoc doc = {.name = key.field->name(),
                .section = SectionName(key.field),
                .flag = FlagName(key.field),
                .alias = "",
                .environment = EnvironmentName(key.field),
                .type = TypeName(key.field),
                .default_value = ValueText(key),
                .allowed = Allowed(key.field),
                .help = key.field->options().GetExtension(v1::doc).help()};
  for (const auto& [name, alias] : kAliases) {
    if (doc.name == name) doc.alias = std::string(alias);
  }
  return doc;
}

std::string ValueText(const Key& key) {
  const auto* reflection = key.holder->GetReflection();
  switch (key.field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(*key.holder, key.field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection->GetInt32(*key.holder, key.field));
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(reflection->GetInt64(*key.holder, key.field));
    default:
      return reflection->GetString(*key.holder, key.field);
  }
}

bool IsSet(const Key& key) { return key.holder->GetReflection()->HasField(*key.holder, key.field); }

absl::Status CheckRange(const Key& key) {
  const v1::FieldDoc& doc = key.field->options().GetExtension(v1::doc);
  const std::string text = ValueText(key);
  if (doc.one_of_size() > 0) {
    if (std::find(doc.one_of().begin(), doc.one_of().end(), text) == doc.one_of().end()) {
      return Refused(key.field, text);
    }
    return absl::OkStatus();
  }
  double number = 0;
  const bool numeric = key.field->cpp_type() == FieldDescriptor::CPPTYPE_INT32 ||
                       key.field->cpp_type() == FieldDescriptor::CPPTYPE_INT64;
  if (numeric && absl::SimpleAtod(text, &number) &&
      ((doc.has_min() && number < doc.min()) || (doc.has_max() && number > doc.max()))) {
    return Refused(key.field, text);
  }
  return absl::OkStatus();
}

absl::Status SetValue(const Key& key, const std::string& text) {
  const auto* reflection = key.holder->GetReflection();
  switch (key.field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: {
      bool value = false;
      if (!absl::SimpleAtob(text, &value)) return Refused(key.field, text);
      reflection->SetBool(key.holder, key.field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT32: {
      int32_t value = 0;
      if (!absl::SimpleAtoi(text, &value)) return Refused(key.field, text);
      reflection->SetInt32(key.holder, key.field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      int64_t value = 0;
      if (!absl::SimpleAtoi(text, &value)) return Refused(key.field, text);
      reflection->SetInt64(key.holder, key.field, value);
      return absl::OkStatus();
    }
    default:
      reflection->SetString(key.holder, key.field, text);
      return absl::OkStatus();
  }
}

}  // namespace baton::server
