#include "router/openai_api.h"

#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "router/api/chat_fields.h"
#include "router/api/structured_output.h"
#include "router/api/turn_grammar.h"
#include "router/field_reader.h"
#include "router/unsupported_fields.h"

namespace baton::router {
namespace {

constexpr size_t kMaxIdBytes = 1024;
constexpr size_t kMaxSaltBytes = 64;
constexpr int32_t kMaxInt = std::numeric_limits<int32_t>::max();

void ReadStop(FieldReader& fields, Generation* generation) {
  const Json* stop = fields.Raw("stop");
  if (stop == nullptr) return;
  if (stop->is_string()) {
    generation->stop_strings.push_back(stop->get<std::string>());
  } else if (stop->is_array()) {
    if (stop->size() > kMaxStops) {
      return fields.Fail("stop", absl::StrCat("must have at most ", kMaxStops, " entries, has ",
                                              stop->size(), "."));
    }
    for (const Json& entry : *stop) {
      if (!entry.is_string()) return fields.Fail("stop", "must be a string or a list of strings.");
      generation->stop_strings.push_back(entry.get<std::string>());
    }
  } else {
    return fields.Fail("stop", "must be a string or a list of strings.");
  }
  for (const std::string& text : generation->stop_strings) {
    if (text.empty() || CodePoints(text) > kMaxStopChars) {
      return fields.Fail("stop", absl::StrCat("must hold strings of 1 to ", kMaxStopChars,
                                              " characters, one has ", CodePoints(text), "."));
    }
  }
}

void ReadLogitBias(FieldReader& fields, int32_t vocab_size, v1::SamplingParams* sampling) {
  const Json* biases = fields.Raw("logit_bias");
  if (biases == nullptr) return;
  if (!biases->is_object()) {
    return fields.Fail("logit_bias", "must be an object from token ids to numbers.");
  }
  if (biases->size() > kMaxLogitBiases) {
    return fields.Fail("logit_bias", absl::StrCat("must have at most ", kMaxLogitBiases,
                                                  " entries, has ", biases->size(), "."));
  }
  for (const auto& [key, value] : biases->items()) {
    int32_t id = -1;
    if (!absl::SimpleAtoi(key, &id) || id < 0 || id >= vocab_size) {
      return fields.Fail("logit_bias",
                         absl::StrCat("must have token ids in [0, ", vocab_size - 1, "] as keys."));
    }
    const double bias = value.is_number() ? value.get<double>() : 1e9;
    if (!(bias >= -100 && bias <= 100)) {
      return fields.Fail("logit_bias", "must have numbers in [-100, 100] as values.");
    }
    (*sampling->mutable_logit_bias())[id] = static_cast<float>(bias);
  }
}

void ReadSampling(FieldReader& fields, int32_t vocab_size, Generation* generation) {
  v1::SamplingParams& sampling = generation->sampling;
  sampling.set_temperature(fields.Number("temperature", {0, 2}).value_or(1.0));
  sampling.set_top_p(fields.Number("top_p", {0, 1, true}).value_or(1.0));
  sampling.set_min_p(fields.Number("min_p", {0, 1, false, true}).value_or(0.0));
  sampling.set_frequency_penalty(fields.Number("frequency_penalty", {-2, 2}).value_or(0.0));
  sampling.set_presence_penalty(fields.Number("presence_penalty", {-2, 2}).value_or(0.0));
  sampling.set_repetition_penalty(fields.Number("repetition_penalty", {0, 2, true}).value_or(1.0));
  // vLLM writes "off" as -1 or 0.
  const int64_t top_k = fields.Integer("top_k", -1, kMaxInt).value_or(0);
  sampling.set_top_k(top_k < 0 ? 0 : static_cast<int32_t>(top_k));
  ReadLogitBias(fields, vocab_size, &sampling);
  const Json* seed = fields.Raw("seed");
  if (seed != nullptr && seed->is_number_unsigned()) {
    generation->seed = seed->get<uint64_t>();
  } else if (const auto number = fields.Integer("seed", std::numeric_limits<int64_t>::min(),
                                                std::numeric_limits<int64_t>::max())) {
    generation->seed = static_cast<uint64_t>(*number);
  }
}

// Which tokens and words may be in the answer at all.
void ReadTokenChoice(FieldReader& fields, int32_t vocab_size, Generation* generation) {
  if (const auto ids = fields.Integers("allowed_token_ids", 0, vocab_size - 1, vocab_size)) {
    if (ids->empty()) return fields.Fail("allowed_token_ids", "must not be empty.");
    generation->sampling.mutable_allowed_token_ids()->Add(ids->begin(), ids->end());
  }
  const Json* words = fields.Raw("bad_words");
  if (words == nullptr) return;
  if (!words->is_array() || words->size() > kMaxBadWords) {
    return fields.Fail("bad_words",
                       absl::StrCat("must be a list of at most ", kMaxBadWords, " strings."));
  }
  for (const Json& word : *words) {
    if (!word.is_string() || CodePoints(word.get_ref<const std::string&>()) > kMaxStopChars) {
      return fields.Fail("bad_words", absl::StrCat("must hold strings of at most ", kMaxStopChars,
                                                   " characters."));
    }
    generation->bad_words.push_back(word.get<std::string>());
  }
}

void ReadStopParams(FieldReader& fields, int32_t vocab_size, Generation* generation) {
  v1::StopParams& stop = generation->stop;
  ReadStop(fields, generation);
  if (const auto ids = fields.Integers("stop_token_ids", 0, vocab_size - 1, kMaxStopTokenIds)) {
    for (const int32_t id : *ids) stop.add_stop_token_ids(id);
  }
  generation->include_stop = fields.Boolean("include_stop_str_in_output").value_or(false);
  stop.set_ignore_eos(fields.Boolean("ignore_eos").value_or(false));
  stop.set_min_tokens(static_cast<int32_t>(fields.Integer("min_tokens", 0, kMaxInt).value_or(0)));
  if (stop.max_tokens() > 0 && stop.min_tokens() > stop.max_tokens()) {
    fields.Fail("min_tokens",
                absl::StrCat("must not be larger than max_tokens (", stop.max_tokens(), ")."));
  }
}

void ReadStreamOptions(FieldReader& fields, AnswerShape* shape) {
  shape->stream = fields.Boolean("stream").value_or(false);
  shape->token_ids = fields.Boolean("return_token_ids").value_or(false);
  shape->timings = fields.Boolean("timings").value_or(false);
  const Json* options = fields.Raw("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) return fields.Fail("stream_options", "must be an object.");
  if (!shape->stream) {
    return fields.Fail("stream_options", "is allowed only when 'stream' is true.");
  }
  FieldReader inner(*options, "stream_options.");
  shape->include_usage = inner.Boolean("include_usage").value_or(false);
  shape->continuous_usage =
      inner.Boolean("continuous_usage_stats").value_or(false) && shape->include_usage;
  fields.Take(inner.error());
}

// Letters that are safe wherever a salt is written: in logs, in keys of metrics.
void ReadCacheSalt(FieldReader& fields, Generation* generation) {
  const std::optional<std::string> salt = fields.String("cache_salt", kMaxIdBytes);
  if (!salt) return;
  if (!IsCacheSalt(*salt)) {
    return fields.Fail("cache_salt", absl::StrCat("must be 1 to ", kMaxSaltBytes,
                                                  " characters of A-Z, a-z, 0-9, '_', '.', '-'."));
  }
  generation->cache_salt = *salt;
}

// Who asks, and how urgently.
void ReadAdmission(FieldReader& fields, Generation* generation) {
  generation->user = fields.String("user", kMaxIdBytes).value_or("");
  generation->priority =
      static_cast<int32_t>(fields.Integer("priority", -kMaxPriority, kMaxPriority).value_or(0));
  generation->ttft_slo_s = 1e-3 * fields.Number("ttft_slo_ms", {0, kMaxSloMs}).value_or(0);
  generation->tpot_slo_s = 1e-3 * fields.Number("tpot_slo_ms", {0, kMaxSloMs}).value_or(0);
  ReadCacheSalt(fields, generation);
}

// What both endpoints have in common. Reads max_tokens before.
void ReadCommon(FieldReader& fields, int32_t vocab_size, ApiRequest* request) {
  Generation& generation = request->generation;
  generation.model = fields.String("model", kMaxIdBytes).value_or("");
  ReadAdmission(fields, &generation);
  ReadStreamOptions(fields, &request->shape);
  generation.n = static_cast<int32_t>(fields.Integer("n", 1, kMaxChoices).value_or(1));
  const auto best_of = fields.Integer("best_of", 1, kMaxChoices);
  if (best_of && *best_of != generation.n) {
    fields.Fail("best_of", "is supported only when it equals 'n'.");
  }
  ReadSampling(fields, vocab_size, &generation);
  ReadStopParams(fields, vocab_size, &generation);
  ReadTokenChoice(fields, vocab_size, &generation);
  generation.skip_special_tokens = fields.Boolean("skip_special_tokens").value_or(true);
  if (std::optional<AnswerForm> form = ReadAnswerForm(fields)) {
    *generation.sampling.mutable_grammar() = std::move(form->grammar);
    generation.grammar_field = std::move(form->field);
  }
  RefuseUnsupportedFields(fields);
}

// A prompt given as token ids.
bool ReadIds(const Json& list, int32_t vocab_size, std::vector<int32_t>* ids) {
  ids->reserve(list.size());
  for (const Json& entry : list) {
    int64_t id = 0;
    if (!ReadInteger(entry, 0, vocab_size - 1, &id)) return false;
    ids->push_back(static_cast<int32_t>(id));
  }
  return true;
}

bool AddPrompt(FieldReader& fields, const Json& value, int32_t vocab_size, Generation* generation) {
  Prompt prompt;
  if (value.is_string()) {
    prompt.text = value.get<std::string>();
  } else {
    prompt.kind = Prompt::Kind::kTokens;
    if (!value.is_array() || value.empty() || !ReadIds(value, vocab_size, &prompt.ids)) {
      fields.Fail("prompt", absl::StrCat("must be a string, a list of strings, a list of token ids "
                                         "in [0, ",
                                         vocab_size - 1,
                                         "] or a list of such lists, "
                                         "none of them empty."));
      return false;
    }
  }
  generation->prompts.push_back(std::move(prompt));
  return true;
}

void ReadPrompts(FieldReader& fields, int32_t vocab_size, Generation* generation) {
  const Json* prompt = fields.Raw("prompt");
  if (prompt == nullptr) return fields.Fail("prompt", "is required.");
  const bool batch = prompt->is_array() && !prompt->empty() &&
                     (prompt->front().is_string() || prompt->front().is_array());
  if (!batch) {
    AddPrompt(fields, *prompt, vocab_size, generation);
    return;
  }
  if (prompt->size() > kMaxPrompts) {
    return fields.Fail("prompt", absl::StrCat("must hold at most ", kMaxPrompts, " prompts, holds ",
                                              prompt->size(), "."));
  }
  for (const Json& entry : *prompt) {
    if (entry.type() != prompt->front().type()) {
      return fields.Fail("prompt", "must hold prompts of one kind.");
    }
    if (!AddPrompt(fields, entry, vocab_size, generation)) return;
  }
}

void ReadChatLogprobs(FieldReader& fields, ApiRequest* request) {
  AnswerShape& shape = request->shape;
  shape.logprobs = fields.Boolean("logprobs").value_or(false);
  const auto top = fields.Integer("top_logprobs", 0, kMaxTopLogprobs);
  if (top && *top > 0 && !shape.logprobs) {
    return fields.Fail("top_logprobs", "is allowed only when 'logprobs' is true.");
  }
  shape.top_logprobs = static_cast<int32_t>(top.value_or(0));
}

void ApplyLogprobs(ApiRequest* request) {
  request->generation.sampling.set_logprobs(request->shape.logprobs);
  request->generation.sampling.set_top_logprobs(request->shape.top_logprobs);
}

}  // namespace

bool IsCacheSalt(absl::string_view salt) {
  if (salt.empty() || salt.size() > kMaxSaltBytes) return false;
  return std::all_of(salt.begin(), salt.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-';
  });
}

std::optional<ApiError> ParseBody(absl::string_view text, Json* body) {
  if (NestingDepth(text) > kMaxJsonDepth) {
    return InvalidParam("",
                        absl::StrCat("The body is nested deeper than ", kMaxJsonDepth, " levels."));
  }
  *body = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (body->is_discarded()) return InvalidParam("", "The body is not valid JSON.");
  if (!body->is_object()) return InvalidParam("", "The body must be a JSON object.");
  return std::nullopt;
}

std::optional<ApiError> ParseChatRequest(const Json& body, int32_t vocab_size,
                                         ApiRequest* request) {
  FieldReader fields(body);
  Generation& generation = request->generation;
  request->shape.chat = true;
  const Json* messages = fields.Raw("messages");
  if (messages == nullptr) {
    fields.Fail("messages", "is required.");
    return fields.error();
  }
  Prompt prompt;
  prompt.kind = Prompt::Kind::kChat;
  fields.Take(ParseMessages(*messages, &prompt.text));
  generation.prompts.push_back(std::move(prompt));
  const auto max_tokens = fields.Integer("max_tokens", 1, kMaxInt);
  const auto max_completion_tokens = fields.Integer("max_completion_tokens", 1, kMaxInt);
  // 0 means the rest of the context.
  generation.stop.set_max_tokens(
      static_cast<int32_t>(max_completion_tokens.value_or(max_tokens.value_or(0))));
  generation.add_special_tokens = fields.Boolean("add_special_tokens").value_or(false);
  ReadChatTemplateFields(fields, &generation);
  if (fields.Boolean("echo").value_or(false)) fields.Fail("echo", "is not supported for chats.");
  request->dialect = Dialect::kChat;
  request->tools = ReadTools(fields);
  request->shape.reasoning = fields.Boolean("include_reasoning").value_or(true);
  ReadCommon(fields, vocab_size, request);
  ReadChatLogprobs(fields, request);
  ApplyLogprobs(request);
  return fields.error();
}

std::optional<ApiError> ParseCompletionRequest(const Json& body, int32_t vocab_size,
                                               ApiRequest* request) {
  FieldReader fields(body);
  Generation& generation = request->generation;
  ReadPrompts(fields, vocab_size, &generation);
  const auto max_tokens = fields.Integer("max_tokens", 1, kMaxInt);
  const auto max_completion_tokens = fields.Integer("max_completion_tokens", 1, kMaxInt);
  generation.stop.set_max_tokens(static_cast<int32_t>(
      max_completion_tokens.value_or(max_tokens.value_or(kDefaultCompletionTokens))));
  generation.add_special_tokens = fields.Boolean("add_special_tokens").value_or(true);
  generation.echo = fields.Boolean("echo").value_or(false);
  ReadCommon(fields, vocab_size, request);
  if (const auto top = fields.Integer("logprobs", 0, kMaxTopLogprobs)) {
    request->shape.logprobs = true;
    request->shape.top_logprobs = static_cast<int32_t>(*top);
    if (generation.echo) {
      fields.Fail("echo", "together with 'logprobs' is not supported: prompt tokens have none.");
    }
  }
  ApplyLogprobs(request);
  return fields.error();
}

std::optional<ApiError> ApplyTurnFormat(const TurnFormat& format,
                                        const models::text::Tokenizer& tokenizer,
                                        ApiRequest* request) {
  Generation& generation = request->generation;
  Prompt& prompt = generation.prompts.front();
  if (prompt.kind == Prompt::Kind::kChat) {
    TellTools(format, request->tools, &prompt);
    if ((request->tools.offered() && format.tool_marks_are_special) ||
        format.reasoning_marks_are_special) {
      generation.skip_special_tokens = false;
    }
    if (auto error = HoldToTools(format, request->tools, tokenizer, &generation)) return error;
  }
  // Nothing can follow where a grammar has come to its end.
  if (generation.sampling.has_grammar()) generation.stop.set_ignore_eos(false);
  return std::nullopt;
}

}  // namespace baton::router
