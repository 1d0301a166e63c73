#include "router/unsupported_fields.h"

namespace baton::router {
namespace {

constexpr absl::string_view kNotSupported = "is not supported.";

// Whether a value asks for nothing: false, 0, "", [] or {}.
bool IsEmpty(const Json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 0;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.empty();
}

void RefuseTools(FieldReader& fields) {
  const Json* choice = fields.Raw("tool_choice");
  const bool none = choice != nullptr && choice->is_string() && *choice == "none";
  if (choice != nullptr && !none) {
    const bool automatic = choice->is_string() && *choice == "auto";
    const Json* tools = fields.Raw("tools");
    if (!automatic || (tools != nullptr && !IsEmpty(*tools))) {
      return fields.Fail("tool_choice", "must be 'none': tools are not supported.");
    }
  }
  const Json* tools = fields.Raw("tools");
  if (tools != nullptr && !tools->is_array()) return fields.Fail("tools", "must be a list.");
  if (tools != nullptr && !tools->empty() && !none) {
    return fields.Fail("tools", "is not supported with a tool_choice other than 'none'.");
  }
}

void RefuseModalities(FieldReader& fields) {
  const Json* modalities = fields.Raw("modalities");
  if (modalities == nullptr) return;
  bool text = modalities->is_array();
  for (const Json& entry : *modalities) text = text && entry == "text";
  if (!text) fields.Fail("modalities", "is supported only as [\"text\"].");
}

}  // namespace

void RefuseUnsupportedFields(FieldReader& fields) {
  RefuseTools(fields);
  RefuseModalities(fields);
  for (const char* name : {"functions",
                           "function_call",
                           "suffix",
                           "audio",
                           "prediction",
                           "web_search_options",
                           "guided_decoding",
                           "guided_whitespace_pattern",
                           "structural_tag",
                           "json_schema",
                           "grammar",
                           "regex",
                           "ebnf",
                           "logits_processors",
                           "prompt_logprobs",
                           "truncate_prompt_tokens",
                           "use_beam_search",
                           "prompt_embeds",
                           "kv_transfer_params",
                           "bootstrap_host",
                           "bootstrap_port",
                           "bootstrap_room",
                           "disaggregated_params",
                           "chat_template",
                           "return_tokens_as_token_ids",
                           "lora_path",
                           "mm_processor_kwargs",
                           "thinking_token_budget"}) {
    const Json* value = fields.Raw(name);
    if (value == nullptr) continue;
    // A port, a host or a room of 0 is still an attempt to steer where keys and values go.
    const bool steers = absl::string_view(name).substr(0, 10) == "bootstrap_";
    if (steers || !IsEmpty(*value)) return fields.Fail(name, kNotSupported);
  }
}

}  // namespace baton::router
