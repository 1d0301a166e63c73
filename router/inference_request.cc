#include "router/inference_request.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "router/api/chat_fields.h"
#include "router/field_reader.h"
#include "router/openai_api.h"

namespace baton::router {
namespace {

// Collects the first error, as FieldReader does for JSON.
class Check {
 public:
  double Number(absl::string_view name, double value, NumberRange range) {
    const bool low = range.min_open ? value > range.min : value >= range.min;
    const bool high = range.max_open ? value < range.max : value <= range.max;
    if (!std::isfinite(value) || !low || !high) {
      Fail(name,
           absl::StrFormat("must be between %g and %g, got %g.", range.min, range.max, value));
    }
    return value;
  }
  int32_t Integer(absl::string_view name, int32_t value, int32_t min, int32_t max) {
    if (value < min || value > max) {
      Fail(name, absl::StrCat("must be in [", min, ", ", max, "], got ", value, "."));
    }
    return value;
  }
  void Fail(absl::string_view name, const std::string& message) {
    if (!error_) error_ = InvalidParam(name, message);
  }
  std::optional<ApiError> error() const { return error_; }

 private:
  std::optional<ApiError> error_;
};

void ReadSampling(const v1::GenerateRequest& request, int32_t vocab_size, Check& check,
                  Generation* generation) {
  v1::SamplingParams& sampling = generation->sampling;
  const auto value = [](bool has, double given, double otherwise) {
    return has ? given : otherwise;
  };
  sampling.set_temperature(check.Number(
      "temperature", value(request.has_temperature(), request.temperature(), 1), {0, 2}));
  sampling.set_top_p(
      check.Number("top_p", value(request.has_top_p(), request.top_p(), 1), {0, 1, true}));
  sampling.set_top_k(check.Integer("top_k", request.top_k(), 0, INT32_MAX));
  sampling.set_min_p(check.Number("min_p", request.min_p(), {0, 1, false, true}));
  sampling.set_frequency_penalty(
      check.Number("frequency_penalty", request.frequency_penalty(), {-2, 2}));
  sampling.set_presence_penalty(
      check.Number("presence_penalty", request.presence_penalty(), {-2, 2}));
  sampling.set_repetition_penalty(check.Number(
      "repetition_penalty",
      value(request.has_repetition_penalty(), request.repetition_penalty(), 1), {0, 2, true}));
  if (request.has_top_logprobs()) {
    sampling.set_logprobs(true);
    sampling.set_top_logprobs(
        check.Integer("top_logprobs", request.top_logprobs(), 0, kMaxTopLogprobs));
  }
  if (request.has_prompt_logprobs()) {
    sampling.set_prompt_logprobs(
        check.Integer("prompt_logprobs", request.prompt_logprobs(), 0, kMaxTopLogprobs));
  }
  if (request.has_speculate()) sampling.set_speculate(request.speculate());
  if (request.has_seed()) generation->seed = request.seed();
  if (static_cast<size_t>(request.logit_bias_size()) > kMaxLogitBiases) {
    return check.Fail("logit_bias", absl::StrCat("has more than ", kMaxLogitBiases, " entries."));
  }
  for (const auto& [id, bias] : request.logit_bias()) {
    check.Integer("logit_bias", id, 0, vocab_size - 1);
    check.Number("logit_bias", bias, {-100, 100});
    (*sampling.mutable_logit_bias())[id] = bias;
  }
  for (const int32_t id : request.allowed_token_ids()) {
    sampling.add_allowed_token_ids(check.Integer("allowed_token_ids", id, 0, vocab_size - 1));
  }
  if (static_cast<size_t>(request.bad_words_size()) > kMaxBadWords) {
    return check.Fail("bad_words", absl::StrCat("has more than ", kMaxBadWords, " entries."));
  }
  generation->bad_words.assign(request.bad_words().begin(), request.bad_words().end());
  if (request.has_grammar()) {
    *sampling.mutable_grammar() = request.grammar();
    generation->grammar_field = "grammar";
  }
}

void ReadStop(const v1::GenerateRequest& request, int32_t vocab_size, Check& check,
              Generation* generation) {
  v1::StopParams& stop = generation->stop;
  const bool chat = request.input_case() == v1::GenerateRequest::kChat;
  if (request.has_max_tokens()) {
    generation->score_only = request.max_tokens() == 0 && request.has_prompt_logprobs();
    const int32_t most = generation->score_only ? 1 : request.max_tokens();
    stop.set_max_tokens(check.Integer("max_tokens", most, 1, INT32_MAX));
  } else {
    stop.set_max_tokens(chat ? 0 : kDefaultCompletionTokens);
  }
  stop.set_ignore_eos(request.ignore_eos());
  generation->include_stop = request.include_stop_str_in_output();
  stop.set_min_tokens(check.Integer("min_tokens", request.min_tokens(), 0, INT32_MAX));
  if (stop.max_tokens() > 0 && stop.min_tokens() > stop.max_tokens()) {
    check.Fail("min_tokens", "must not be larger than max_tokens.");
  }
  if (static_cast<size_t>(request.stop_token_ids_size()) > kMaxStopTokenIds) {
    check.Fail("stop_token_ids", absl::StrCat("has more than ", kMaxStopTokenIds, " entries."));
    return;
  }
  for (const int32_t id : request.stop_token_ids()) {
    check.Integer("stop_token_ids", id, 0, vocab_size - 1);
    stop.add_stop_token_ids(id);
  }
  if (static_cast<size_t>(request.stop_size()) > kMaxStops) {
    return check.Fail("stop", absl::StrCat("has more than ", kMaxStops, " entries."));
  }
  for (const std::string& text : request.stop()) {
    if (text.empty() || CodePoints(text) > kMaxStopChars) {
      check.Fail("stop", absl::StrCat("must hold strings of 1 to ", kMaxStopChars, " characters."));
    }
    generation->stop_strings.push_back(text);
  }
}

}  // namespace

std::optional<ApiError> ReadChatMessages(const v1::ChatMessages& chat, std::string* messages) {
  Json list = Json::array();
  for (const v1::ChatMessage& message : chat.messages()) {
    list.push_back({{"role", message.role()}, {"content", message.content()}});
    Json& last = list.back();
    if (!message.tool_call_id().empty()) last["tool_call_id"] = message.tool_call_id();
    if (!message.reasoning().empty()) last["reasoning_content"] = message.reasoning();
    if (message.tool_calls().empty()) continue;
    last["tool_calls"] = Json::parse(message.tool_calls(), nullptr, /*allow_exceptions=*/false);
    if (!last["tool_calls"].is_array()) {
      return InvalidParam("tool_calls", "'tool_calls' must be a JSON list.");
    }
  }
  return ParseMessages(list, messages);
}

namespace {

template <typename Request>
void ReadWho(const Request& request, Check& check, Generation* generation) {
  generation->model = request.model();
  if (!request.cache_salt().empty() && !IsCacheSalt(request.cache_salt())) {
    check.Fail("cache_salt", "must be 1 to 64 characters of A-Z, a-z, 0-9, '_', '.', '-'.");
  }
  generation->cache_salt = request.cache_salt();
  generation->user = request.user();
  generation->priority = check.Integer("priority", request.priority(), -kMaxPriority, kMaxPriority);
}

std::optional<ApiError> ReadChat(const v1::ChatMessages& chat, Prompt* prompt, ToolOffer* tools) {
  prompt->kind = Prompt::Kind::kChat;
  if (auto error = ReadChatMessages(chat, &prompt->text)) return error;
  Json body = Json::object();
  if (!chat.tools().empty()) {
    body["tools"] = Json::parse(chat.tools(), nullptr, /*allow_exceptions=*/false);
  }
  const std::string& choice = chat.tool_choice();
  if (choice == "none" || choice == "auto" || choice == "required") {
    body["tool_choice"] = choice;
  } else if (!choice.empty()) {
    body["tool_choice"] = {{"type", "function"}, {"function", {{"name", choice}}}};
  }
  if (!chat.template_variables().empty()) {
    body["chat_template_kwargs"] =
        Json::parse(chat.template_variables(), nullptr, /*allow_exceptions=*/false);
  }
  FieldReader fields(body);
  *tools = ReadTools(fields);
  Generation variables;
  variables.prompts.emplace_back();
  ReadChatTemplateFields(fields, &variables);
  prompt->variables = variables.prompts.front().variables;
  return fields.error();
}

}  // namespace

std::optional<ApiError> ReadGenerateRequest(const v1::GenerateRequest& request, int32_t vocab_size,
                                            ApiRequest* api) {
  Check check;
  Generation* generation = &api->generation;
  Prompt prompt;
  switch (request.input_case()) {
    case v1::GenerateRequest::kText:
      prompt.text = request.text();
      break;
    case v1::GenerateRequest::kTokenIds:
      prompt.kind = Prompt::Kind::kTokens;
      prompt.ids.assign(request.token_ids().ids().begin(), request.token_ids().ids().end());
      break;
    case v1::GenerateRequest::kChat:
      prompt.kind = Prompt::Kind::kChat;
      generation->add_special_tokens = false;
      api->dialect = Dialect::kChat;
      if (auto error = ReadChat(request.chat(), &prompt, &api->tools)) return error;
      break;
    case v1::GenerateRequest::INPUT_NOT_SET:
      return InvalidParam("input", "One of text, token_ids and chat is required.");
  }
  generation->prompts.push_back(std::move(prompt));
  ReadWho(request, check, generation);
  generation->ttft_slo_s =
      1e-3 * check.Number("ttft_slo_ms", request.ttft_slo_ms(), {0, kMaxSloMs});
  generation->tpot_slo_s =
      1e-3 * check.Number("tpot_slo_ms", request.tpot_slo_ms(), {0, kMaxSloMs});
  generation->n = request.n() == 0 ? 1 : check.Integer("n", request.n(), 1, kMaxChoices);
  ReadSampling(request, vocab_size, check, generation);
  ReadStop(request, vocab_size, check, generation);
  return check.error();
}

std::optional<ApiError> ReadEmbedRequest(const v1::EmbedRequest& request, Generation* generation) {
  Check check;
  ReadWho(request, check, generation);
  if (request.inputs().empty() || static_cast<size_t>(request.inputs_size()) > kMaxEmbeddings) {
    check.Fail("inputs", absl::StrCat("must be 1 to ", kMaxEmbeddings, " texts, has ",
                                      request.inputs_size(), "."));
  }
  for (const v1::EmbedInput& input : request.inputs()) {
    Prompt prompt;
    prompt.field = "inputs";
    prompt.text = input.text();
    if (input.input_case() == v1::EmbedInput::kTokenIds) {
      prompt.kind = Prompt::Kind::kTokens;
      prompt.ids.assign(input.token_ids().ids().begin(), input.token_ids().ids().end());
    }
    generation->prompts.push_back(std::move(prompt));
  }
  generation->embed.emplace().set_normalize(!request.has_normalize() || request.normalize());
  generation->stop.set_max_tokens(1);  // what nodes call a sequence without a continuation
  return check.error();
}

TraceContext TraceOfCall(const grpc::ServerContextBase& context, Rng& rng) {
  const auto& metadata = context.client_metadata();
  const auto parent = metadata.find("traceparent");
  if (parent == metadata.end()) return StartTrace("", rng);
  return StartTrace(absl::string_view(parent->second.data(), parent->second.size()), rng);
}

}  // namespace baton::router
