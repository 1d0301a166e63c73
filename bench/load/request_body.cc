#include "bench/load/request_body.h"

#include "absl/strings/str_cat.h"

namespace baton::bench {

using nlohmann::ordered_json;

absl::StatusOr<ordered_json> ParseExtraBody(const std::string& text) {
  if (text.empty()) return ordered_json::object();
  ordered_json body = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!body.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--extra-body is '", text, "'; allowed: a JSON object"));
  }
  return body;
}

std::string RequestBody(const ServeOptions& options, const ordered_json& extra_body,
                        const std::string& model, const Prompt& prompt) {
  ordered_json body;
  body["model"] = model;
  if (options.is_chat()) {
    body["messages"] = ordered_json::array({{{"role", "user"}, {"content", prompt.text}}});
    body["max_completion_tokens"] = prompt.output_tokens;
  } else {
    body["prompt"] = prompt.text;
    body["max_tokens"] = prompt.output_tokens;
  }
  body["temperature"] = options.temperature;
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  // Not part of OpenAI's API: strict servers refuse it, so it is sent only when asked for.
  if (options.ignore_eos) body["ignore_eos"] = true;
  for (const auto& [name, value] : extra_body.items()) body[name] = value;
  return body.dump();
}

}  // namespace baton::bench
