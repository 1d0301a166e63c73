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

std::string QuotedName(const std::string& warning) {
  const std::vector<std::string> parts = absl::StrSplit(warning, " has no field named ");
  return parts.back();
}

}  // namespace

absl::Status MergeConfigFile(const std::string& path, Message& message) {
  std::ifstream file(path);
  std::stringstream stream;
  stream << file.rdbuf();
  if (!file) {
    return absl::NotFoundError(absl::StrCat("configuration file ", path, ": cannot be read"));
  }
  const std::string text = stream.str();
  std::set<std::string> known;
  const auto* descriptor = message.GetDescriptor();
  AddNames(descriptor, &known);
  std::vector<Message*> parts;
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    parts.push_back(message.GetReflection()->MutableMessage(&message, field));
    AddNames(field->message_type(), &known);
  }
  BATON_ASSIGN_OR_RETURN(auto unknown, ParsePart(path, text, message));
  for (Message* part : parts) {
    BATON_ASSIGN_OR_RETURN(const auto of_part, ParsePart(path, text, *part));
    for (auto it = unknown.begin(); it != unknown.end();) {
      // A key inside process { ... } is judged by that message alone.
      const bool nested = !absl::StrContains(it->second, descriptor->full_name());
      it = nested || of_part.count(it->first) > 0 ? std::next(it) : unknown.erase(it);
    }
  }
  if (unknown.empty()) return absl::OkStatus();
  const auto& [position, warning] = *unknown.begin();
  return absl::InvalidArgumentError(absl::StrCat(
      "configuration file ", path, ", line ", position.first + 1, ": unknown key ",
      QuotedName(warning), "; known: ", absl::StrJoin(known, ", ")));
}

}  // namespace baton::server
