#include "cli/doctor/finding.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace baton::cli {
namespace {

struct VerdictName {
  const char* text;
  const char* code;  // ANSI
  const char* json;
};
// By Verdict.
constexpr VerdictName kNames[] = {{"good", "32", "good"},
                                  {"note", "2", "note"},
                                  {"WARNING", "33", "warning"},
                                  {"ERROR", "1;31", "error"}};

const VerdictName& NameOf(Verdict verdict) { return kNames[static_cast<int>(verdict)]; }

int Count(const Findings& findings, Verdict verdict) {
  return static_cast<int>(
      std::count_if(findings.begin(), findings.end(),
                    [verdict](const Finding& finding) { return finding.verdict == verdict; }));
}

}  // namespace

int ErrorsIn(const Findings& findings) { return Count(findings, Verdict::kError); }

std::string FindingsText(const Findings& findings, bool color) {
  std::string text, area;
  for (const Finding& finding : findings) {
    if (finding.area != area) absl::StrAppend(&text, area.empty() ? "" : "\n", finding.area, "\n");
    area = finding.area;
    const VerdictName& name = NameOf(finding.verdict);
    std::string word = absl::StrFormat("%-8s", name.text);
    if (color) word = absl::StrCat("\033[", name.code, "m", word, "\033[0m");
    absl::StrAppend(&text, "  ", word, finding.what, "\n");
    if (!finding.cure.empty()) absl::StrAppend(&text, "          -> ", finding.cure, "\n");
  }
  const int errors = ErrorsIn(findings), warnings = Count(findings, Verdict::kWarning);
  absl::StrAppendFormat(&text, "\n%d error%s, %d warning%s, %d things looked at\n", errors,
                        errors == 1 ? "" : "s", warnings, warnings == 1 ? "" : "s",
                        static_cast<int>(findings.size()));
  return text;
}

std::string FindingsJson(const Findings& findings) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"area", finding.area},
                    {"verdict", NameOf(finding.verdict).json},
                    {"what", finding.what},
                    {"cure", finding.cure}});
  }
  const nlohmann::ordered_json all = {{"findings", list},
                                      {"warnings", Count(findings, Verdict::kWarning)},
                                      {"errors", ErrorsIn(findings)}};
  return all.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace baton::cli
