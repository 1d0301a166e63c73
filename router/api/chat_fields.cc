#include "router/api/chat_fields.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace baton::router {
namespace {

constexpr size_t kMaxEffortBytes = 32;
constexpr absl::string_view kEfforts[] = {"none", "minimal", "low", "medium",
                                          "high", "xhigh",   "max"};
// Variables that only the server sets.
constexpr absl::string_view kReserved[] = {"messages", "tools", "add_generation_prompt",
                                           "continue_final_message", "chat_template"};

void ReadVariables(FieldReader& fields, Json* variables) {
  const Json* given = fields.Raw("chat_template_kwargs");
  if (given == nullptr) return;
  if (!given->is_object()) return fields.Fail("chat_template_kwargs", "must be an object.");
  for (const absl::string_view name : kReserved) {
    if (given->contains(std::string(name))) {
      return fields.Fail("chat_template_kwargs", absl::StrCat("must not set '", name, "'."));
    }
  }
  *variables = *given;
}

}  // namespace

void ReadChatTemplateFields(FieldReader& fields, Generation* generation) {
  Json variables = Json::object();
  ReadVariables(fields, &variables);
  if (const Json* documents = fields.Raw("documents")) {
    if (!documents->is_array()) return fields.Fail("documents", "must be a list of objects.");
    variables["documents"] = *documents;
  }
  if (const auto effort = fields.String("reasoning_effort", kMaxEffortBytes)) {
    if (std::find(std::begin(kEfforts), std::end(kEfforts), *effort) == std::end(kEfforts)) {
      return fields.Fail("reasoning_effort",
                         absl::StrCat("must be one of ", absl::StrJoin(kEfforts, ", "), "."));
    }
    variables["reasoning_effort"] = *effort;
    // The name that templates know for no reasoning at all.
    if (*effort == "none") variables.emplace("enable_thinking", false);
  }
  Prompt& prompt = generation->prompts.front();
  prompt.variables = variables.dump();
  const auto add = fields.Boolean("add_generation_prompt");
  prompt.continue_final = fields.Boolean("continue_final_message").value_or(false);
  if (prompt.continue_final && add.value_or(false)) {
    return fields.Fail("continue_final_message",
                       "is not allowed together with 'add_generation_prompt'.");
  }
  generation->add_generation_prompt = add.value_or(true) && !prompt.continue_final;
}

}  // namespace baton::router
