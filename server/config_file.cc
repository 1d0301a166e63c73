#include "server/config_file.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace baton::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

using Position = std::pair<int, int>;  // line, column; from 0

// What the text-format parser says: errors as text, unknown keys by position.
class Complaints final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    absl::StrAppend(&errors, errors.empty() ? "" : "; ", "line ", line + 1, ", column ", column + 1,
                    ": ", message);
  }
  void AddWarning(int line, int column, const std::string& message) override {
    if (absl::StrContains(message, " has no field named ")) unknown[{line, column}] = message;
  }

  std::string errors;
  std::map<Position, std::string> unknown;
};

absl::StatusOr<std::map<Position, std::string>> ParsePart(const std::string& path,
                                                          const std::string& text, Message& part) {
  google::protobuf::TextFormat::Parser parser;
  Complaints complaints;
  parser.RecordErrorsTo(&complaints);
  // The keys of the other parts are unknown to this one; what all of them refuse is an error.
  parser.AllowUnknownField(true);
  const std::unique_ptr<Message> parsed(part.New());
  if (!parser.ParseFromString(text, parsed.get())) {
    return absl::InvalidArgumentError(
        absl::StrCat("configuration file ", path, ": ", complaints.errors));
  }
  part.MergeFrom(*parsed);
  return std::move(complaints.unknown);
}

void AddNames(const google::protobuf::Descriptor* descriptor, std::set<std::string>* names) {
  for (int i = 0; i < descriptor->field_count(); ++i) names->insert(descriptor->field(i)->name());
}

// Leaves in `unknown` what `others` do not know either.
void KeepCommon(const std::map<Position, std::string>& others,
                std::map<Position, std::string>* unknown) {
  for (auto it = unknown->begin(); it != unknown->end();) {
    it = others.count(it->first) > 0 ? std::next(it) : unknown->erase(it);
  }
}

std::string QuotedName(const std::string& warning) {
  const std::vector<std::string> parts = absl::StrSplit(warning, " has no field named ");
  return parts.back();
}

// Keys that a message and its parts do not have.
struct UnknownKeys {
  std::map<Position, std::string> at_top;  // another message may have them
  std::map<Position, std::string> nested;  // in the braces of a part: nobody else's
};

// Merges `text` into `message`; adds the names of its keys to `known`.
absl::StatusOr<UnknownKeys> MergeText(const std::string& path, const std::string& text,
                                      Message& message, std::set<std::string>* known) {
  const auto* descriptor = message.GetDescriptor();
  AddNames(descriptor, known);
  std::vector<Message*> parts;
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    parts.push_back(message.GetReflection()->MutableMessage(&message, field));
    AddNames(field->message_type(), known);
  }
  UnknownKeys unknown;
  BATON_ASSIGN_OR_RETURN(const auto all, ParsePart(path, text, message));
  for (const auto& [position, warning] : all) {
    const bool nested = !absl::StrContains(warning, descriptor->full_name());
    (nested ? unknown.nested : unknown.at_top)[position] = warning;
  }
  for (Message* part : parts) {
    BATON_ASSIGN_OR_RETURN(const auto of_part, ParsePart(path, text, *part));
    KeepCommon(of_part, &unknown.at_top);
  }
  return unknown;
}

}  // namespace

absl::Status MergeConfigFile(const std::string& path, const std::vector<Message*>& messages) {
  std::ifstream file(path);
  std::stringstream stream;
  stream << file.rdbuf();
  if (!file) {
    return absl::NotFoundError(absl::StrCat("configuration file ", path, ": cannot be read"));
  }
  const std::string text = stream.str();
  std::set<std::string> known;
  std::map<Position, std::string> unknown, nested;
  for (size_t i = 0; i < messages.size(); ++i) {
    BATON_ASSIGN_OR_RETURN(UnknownKeys own, MergeText(path, text, *messages[i], &known));
    nested.merge(own.nested);
    if (i == 0) {
      unknown = std::move(own.at_top);
    } else {
      KeepCommon(own.at_top, &unknown);
    }
  }
  unknown.merge(nested);
  if (unknown.empty()) return absl::OkStatus();
  const auto& [position, warning] = *unknown.begin();
  return absl::InvalidArgumentError(
      absl::StrCat("configuration file ", path, ", line ", position.first + 1, ": unknown key ",
                   QuotedName(warning), "; known: ", absl::StrJoin(known, ", ")));
}

absl::Status MergeConfigFile(const std::string& path, Message& message) {
  return MergeConfigFile(path, std::vector<Message*>{&message});
}

}  // namespace baton::server
