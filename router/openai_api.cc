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

// What both endpoints have in common. Reads max_tokens before.
void ReadCommon(FieldReader& fields, int32_t vocab_size, ApiRequest* request) {
  Generation& generation = request->generation;
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
  if (const auto speculate = fields.Boolean("speculate")) {
    generation.sampling.set_speculate(*speculate);
  }
  if (const auto top = fields.Integer("prompt_logprobs", 0, kMaxTopLogprobs)) {
    request->shape.prompt_logprobs = static_cast<int32_t>(*top);
    if (request->shape.stream) {
      fields.Fail("prompt_logprobs", "is not available when 'stream' is true.");
    }
  }
  generation.skip_special_tokens = fields.Boolean("skip_special_tokens").value_or(true);
  if (std::optional<AnswerForm> form = ReadAnswerForm(fields)) {
    *generation.sampling.mutable_grammar() = std::move(form->grammar);
    generation.grammar_field = std::move(form->field);
  }
  RefuseUnsupportedFields(fields);
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
  const AnswerShape& shape = request->shape;
  v1::SamplingParams& sampling = request->generation.sampling;
  sampling.set_logprobs(shape.logprobs);
  sampling.set_top_logprobs(shape.top_logprobs);
  const int32_t echoed = shape.echo_logprobs ? shape.top_logprobs : -1;
  const int32_t of_prompt = std::max(shape.prompt_logprobs, echoed);
  if (of_prompt >= 0) sampling.set_prompt_logprobs(of_prompt);
}

// Only an echo has something to show where nothing is generated.
void ReadCompletionTokens(FieldReader& fields, Generation* generation) {
  const int64_t least = generation->echo ? 0 : 1;
  const auto max_tokens = fields.Integer("max_tokens", least, kMaxInt);
  const auto max_completion_tokens = fields.Integer("max_completion_tokens", least, kMaxInt);
  const int64_t most =
      max_completion_tokens.value_or(max_tokens.value_or(kDefaultCompletionTokens));
  generation->score_only = most == 0;
  generation->stop.set_max_tokens(static_cast<int32_t>(std::max<int64_t>(most, 1)));
}

}  // namespace

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
  ReadPrompts(fields, "prompt", kMaxPrompts, vocab_size, &generation);
  generation.add_special_tokens = fields.Boolean("add_special_tokens").value_or(true);
  generation.echo = fields.Boolean("echo").value_or(false);
  ReadCompletionTokens(fields, &generation);
  ReadCommon(fields, vocab_size, request);
  if (const auto top = fields.Integer("logprobs", 0, kMaxTopLogprobs)) {
    request->shape.logprobs = true;
    request->shape.top_logprobs = static_cast<int32_t>(*top);
    request->shape.echo_logprobs = generation.echo;
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
