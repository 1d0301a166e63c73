#include "router/api/structural_tag.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "models/text/grammar.h"

namespace baton::router {
namespace {

std::string LarkLiteral(const std::string& text) {
  return Json(text).dump(-1, ' ', /*ensure_ascii=*/false);
}

bool IsText(const Json& value) {
  return value.is_string() && !value.get_ref<const std::string&>().empty();
}

// What follows `trigger` in the structures that begin with it, as alternatives.
absl::StatusOr<std::string> Followers(const Json& structures, const std::string& trigger) {
  std::string out;
  for (const Json& structure : structures) {
    const std::string begin = structure["begin"].get<std::string>();
    if (!absl::StartsWith(begin, trigger)) continue;
    const auto schema = models::text::EmbeddedSchema(structure["schema"].dump(), /*lenient=*/false);
    if (!schema.ok()) return absl::InvalidArgumentError("has a structure without a JSON schema.");
    const std::string rest = begin.substr(trigger.size());
    absl::StrAppend(&out, out.empty() ? "" : "\n    | ",
                    rest.empty() ? "" : LarkLiteral(rest) + " ", "%json ", *schema, " ",
                    LarkLiteral(structure["end"].get<std::string>()));
  }
  if (out.empty()) return absl::InvalidArgumentError("has a trigger that begins no structure.");
  return out;
}

}  // namespace

absl::StatusOr<std::string> StructuralTagLark(const Json& tag) {
  const Json structures = tag.value("structures", Json());
  const Json triggers = tag.value("triggers", Json());
  if (!structures.is_array() || structures.empty() || structures.size() > kMaxStructures) {
    return absl::InvalidArgumentError(
        absl::StrCat("needs a list 'structures' of 1 to ", kMaxStructures, " objects."));
  }
  if (!triggers.is_array() || triggers.empty() || triggers.size() > kMaxStructures) {
    return absl::InvalidArgumentError(
        absl::StrCat("needs a list 'triggers' of 1 to ", kMaxStructures, " strings."));
  }
  for (const Json& structure : structures) {
    if (!structure.is_object() || !IsText(structure.value("begin", Json())) ||
        !IsText(structure.value("end", Json())) || !structure.contains("schema")) {
      return absl::InvalidArgumentError(
          "needs structures with 'begin' and 'end', which are not empty, and 'schema'.");
    }
  }
  std::string starts;
  std::string rules;
  for (size_t i = 0; i < triggers.size(); ++i) {
    if (!IsText(triggers[i])) {
      return absl::InvalidArgumentError("needs triggers that are strings and not empty.");
    }
    const std::string trigger = triggers[i].get<std::string>();
    const absl::StatusOr<std::string> followers = Followers(structures, trigger);
    if (!followers.ok()) return followers.status();
    absl::StrAppend(&starts, i == 0 ? "" : " | ", "before", i, " tag", i);
    absl::StrAppend(&rules, "before", i, "[lazy]: /(?s:.*)/ ", LarkLiteral(trigger), "\ntag", i,
                    ": ", *followers, "\n");
  }
  return absl::StrCat("start: (", starts, ")* FREE?\nFREE: /(?s:.+)/\n", rules);
}

}  // namespace baton::router
