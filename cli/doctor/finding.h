// What the doctor found: one fact with a verdict, and what to do about it.
#pragma once

#include <string>
#include <vector>

namespace baton::cli {

enum class Verdict { kGood, kNote, kWarning, kError };

struct Finding {
  std::string area;  // "machine", "model", "configuration", "cluster"
  Verdict verdict = Verdict::kGood;
  std::string what;  // a sentence
  std::string cure;  // what a person can do; empty: nothing needs to be done
};

using Findings = std::vector<Finding>;

// As text, areas as headings, and a last line that counts. `color`: ANSI colours.
std::string FindingsText(const Findings& findings, bool color);
// {"findings": [{"area", "verdict", "what", "cure"}], "warnings": n, "errors": n}
std::string FindingsJson(const Findings& findings);
int ErrorsIn(const Findings& findings);

}  // namespace baton::cli
