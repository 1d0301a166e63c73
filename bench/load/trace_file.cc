#include "bench/load/trace_file.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/status_macros.h"

namespace baton::bench {
namespace {

using nlohmann::json;

constexpr char kCsvHeader[] = "TIMESTAMP,ContextTokens,GeneratedTokens";

// A member that must be a number >= 0.
absl::StatusOr<double> NumberMember(const json& object, const char* name) {
  const auto member = object.find(name);
  if (member == object.end() || !member->is_number() || member->get<double>() < 0) {
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' must be a number >= 0"));
  }
  return member->get<double>();
}

absl::StatusOr<TraceEntry> ParseMooncake(const std::string& line) {
  const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError("is no JSON object");
  TraceEntry entry;
  BATON_ASSIGN_OR_RETURN(const double at_ms, NumberMember(object, "timestamp"));
  BATON_ASSIGN_OR_RETURN(const double input, NumberMember(object, "input_length"));
  BATON_ASSIGN_OR_RETURN(const double output, NumberMember(object, "output_length"));
  entry.at_s = at_ms / 1000;
  entry.input_tokens = static_cast<int64_t>(input);
  entry.output_tokens = static_cast<int64_t>(output);
  const auto ids = object.find("hash_ids");
  if (ids == object.end()) return entry;
  if (!ids->is_array()) return absl::InvalidArgumentError("'hash_ids' must be a list");
  for (const json& id : *ids) {
    if (!id.is_number_integer()) {
      return absl::InvalidArgumentError("'hash_ids' must hold integers");
    }
    entry.block_ids.push_back(id.get<int64_t>());
  }
  return entry;
}

absl::StatusOr<TraceEntry> ParseAzure(const std::string& line) {
  const std::vector<std::string> fields = absl::StrSplit(line, ',');
  TraceEntry entry;
  absl::Time at;
  std::string problem;
  if (fields.size() != 3 ||
      !absl::ParseTime("%Y-%m-%d %H:%M:%E*S", fields[0], absl::UTCTimeZone(), &at, &problem) ||
      !absl::SimpleAtoi(fields[1], &entry.input_tokens) ||
      !absl::SimpleAtoi(fields[2], &entry.output_tokens) || entry.input_tokens < 0 ||
      entry.output_tokens < 0) {
    return absl::InvalidArgumentError(
        "needed 'YYYY-MM-DD HH:MM:SS.fraction,context tokens,generated tokens'");
  }
  entry.at_s = absl::ToDoubleSeconds(at - absl::UnixEpoch());
  return entry;
}

}  // namespace

absl::StatusOr<std::vector<TraceEntry>> ReadTrace(const std::string& path, size_t limit) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read the trace ", path));
  std::vector<TraceEntry> entries;
  std::string line;
  bool is_csv = false;
  for (int64_t number = 1; entries.size() < limit && std::getline(file, line); ++number) {
    const std::string content(absl::StripAsciiWhitespace(line));
    if (content.empty()) continue;
    if (number == 1 && content == kCsvHeader) {
      is_csv = true;
      continue;
    }
    absl::StatusOr<TraceEntry> entry = is_csv ? ParseAzure(content) : ParseMooncake(content);
    if (!entry.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " line ", number, ": ", entry.status().message(),
                       "; known are Mooncake JSON lines and CSV with the header ", kCsvHeader));
    }
    entries.push_back(*std::move(entry));
  }
  if (entries.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": no requests"));
  std::stable_sort(entries.begin(), entries.end(),
                   [](const TraceEntry& a, const TraceEntry& b) { return a.at_s < b.at_s; });
  const double first_s = entries.front().at_s;
  for (TraceEntry& entry : entries) entry.at_s -= first_s;
  return entries;
}

}  // namespace baton::bench
