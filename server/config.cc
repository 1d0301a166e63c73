#include "server/config.h"

#include <google/protobuf/descriptor.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "proto/config.pb.h"
#include "server/config_file.h"
#include "server/process.h"

namespace baton::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// A scalar field and the (sub-)message that holds it.
struct Key {
  Message* holder;
  const FieldDescriptor* field;
};

void CollectKeys(Message& message, std::vector<Key>* keys) {
  const auto* descriptor = message.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      CollectKeys(*message.GetReflection()->MutableMessage(&message, field), keys);
    } else {
      keys->push_back({&message, field});
    }
  }
}

std::string FlagName(const FieldDescriptor* field) {
  std::string name = field->name();
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string EnvironmentName(const FieldDescriptor* field) {
  std::string name = absl::StrCat("BATON_", field->name());
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
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

// What is allowed, for messages and for --help.
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
  return absl::InvalidArgumentError(absl::StrCat("configuration key ", field->name(), " (--",
                                                 FlagName(field), ") is '", value, "', needs ",
                                                 Allowed(field)));
}

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

}  // namespace

void AddFlags(CLI::App& app, Message& message) {
  app.add_option("--config", "Configuration file in Protobuf text format")
      ->type_name("FILE")
      ->envname("BATON_CONFIG");
  std::vector<Key> keys;
  CollectKeys(message, &keys);
  for (const Key& key : keys) {
    const v1::FieldDoc& doc = key.field->options().GetExtension(v1::doc);
    const std::string allowed = Allowed(key.field);
    const bool says_allowed = !allowed.empty() && (doc.one_of_size() > 0 || doc.has_min());
    // Const: CLI11 takes a string that is not for the variable to write the value to.
    const std::string help =
        says_allowed ? absl::StrCat(doc.help(), " (", allowed, ")") : doc.help();
    const std::string name = absl::StrCat("--", FlagName(key.field));
    CLI::Option* option = app.add_option(name, help)->envname(EnvironmentName(key.field));
    if (key.field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
      // No default_str: CLI11 would take it for the value of a bare switch.
      option->expected(0, 1)->type_name(absl::StrCat("[BOOL]=", ValueText(key)));
    } else {
      const bool text = key.field->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
      option->type_name(text ? "TEXT" : "NUMBER")->default_str(ValueText(key));
    }
  }
}

absl::Status FinishConfig(CLI::App& app, Message& message) {
  const CLI::Option* config = app.get_option("--config");
  if (config->count() > 0) {
    BATON_RETURN_IF_ERROR(MergeConfigFile(config->as<std::string>(), message));
  }
  std::vector<Key> keys;
  CollectKeys(message, &keys);
  for (const Key& key : keys) {
    const CLI::Option* option = app.get_option(absl::StrCat("--", FlagName(key.field)));
    if (option->count() > 0) {
      const std::vector<std::string>& values = option->results();
      const bool bare = values.empty() || (values.size() == 1 && values[0].empty() &&
                                           key.field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL);
      BATON_RETURN_IF_ERROR(SetValue(key, bare ? "true" : values.back()));
    }
    BATON_RETURN_IF_ERROR(CheckRange(key));
  }
  return absl::OkStatus();
}

bool ParseCommandLine(int argc, char** argv, const std::string& description, Message& message,
                      int* exit_code) {
  CLI::App app(description);
  app.set_version_flag("--version", "baton " BATON_VERSION);
  AddFlags(app, message);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    *exit_code = code == 0 ? 0 : 2;
    return false;
  }
  const absl::Status status = FinishConfig(app, message);
  if (!status.ok()) {
    *exit_code = ExitCodeFor(status, argv[0]);
    return false;
  }
  return true;
}

}  // namespace baton::server
