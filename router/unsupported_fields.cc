#include "router/unsupported_fields.h"

namespace baton::router {
namespace {

constexpr absl::string_view kNotSupported = "is not supported.";

// Fields that would change the answer. Those of modalities and of other engines are here, so that
// nobody believes them to work.
constexpr const char* kUnsupported[] = {"functions",
                                        "function_call",
                                        "suffix",
                                        "audio",
                                        "images",
                                        "image_data",
                                        "prediction",
                                        "web_search_options",
                                        "guided_decoding",
                                        "guided_whitespace_pattern",
                                        "json_schema",
                                        "grammar",
                                        "regex",
                                        "ebnf",
                                        "logits_processors",
                                        "truncate_prompt_tokens",
                                        "use_beam_search",
                                        "length_penalty",
                                        "prompt_embeds",
                                        "kv_transfer_params",
                                        "disaggregated_params",
                                        "chat_template",
                                        "return_tokens_as_token_ids",
                                        "lora_path",
                                        "mm_processor_kwargs",
                                        "media_io_kwargs",
                                        "repetition_detection",
                                        "thinking_token_budget"};
// Attempts to steer where keys and values go: refused with any value, also 0 and "".
constexpr const char* kSteering[] = {"bootstrap_host",   "bootstrap_port",    "bootstrap_room",
                                     "do_remote_decode", "do_remote_prefill", "remote_host",
                                     "remote_port",      "remote_block_ids",  "remote_engine_id",
                                     "block_ids",        "ec_transfer_params"};

// Whether a value asks for nothing: false, 0, "", [] or {}.
bool IsEmpty(const Json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 0;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.empty();
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
  RefuseModalities(fields);
  for (const char* name : kSteering) {
    if (fields.Raw(name) != nullptr) return fields.Fail(name, kNotSupported);
  }
  for (const char* name : kUnsupported) {
    const Json* value = fields.Raw(name);
    // The default of vLLM's length_penalty is 1.
    if (value == nullptr || (absl::string_view(name) == "length_penalty" && *value == 1)) continue;
    if (!IsEmpty(*value)) return fields.Fail(name, kNotSupported);
  }
}

}  // namespace baton::router
