// Requests in OpenAI's JSON, with vLLM's extensions: from a parsed body to a Generation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "router/api/tools.h"
#include "router/api_error.h"
#include "router/field_reader.h"
#include "router/generation.h"
#include "router/json_text.h"

namespace baton::router {

// Hard limits of a request; each is checked before anything of its size is made.
inline constexpr int32_t kMaxChoices = 8;
inline constexpr size_t kMaxPrompts = 256;
inline constexpr size_t kMaxEmbeddings = 2048;
inline constexpr size_t kMaxStops = 16;
inline constexpr int64_t kMaxStopChars = 1024;
inline constexpr size_t kMaxStopTokenIds = 1024;
inline constexpr size_t kMaxLogitBiases = 1024;
inline constexpr size_t kMaxBadWords = 1024;
inline constexpr size_t kMaxMessages = 4096;
inline constexpr int32_t kMaxTopLogprobs = 20;
inline constexpr int32_t kMaxPriority = 1000;
inline constexpr double kMaxSloMs = 3600e3;
inline constexpr int kMaxJsonDepth = 64;
inline constexpr int32_t kDefaultCompletionTokens = 16;

// Whose words a request is in. Its answer and its errors are in the same.
enum class Dialect : uint8_t {
  kCompletions,  // OpenAI's /v1/completions
  kChat,         // OpenAI's /v1/chat/completions
  kResponses,    // OpenAI's /v1/responses
  kMessages,     // Anthropic's /v1/messages
  kEmbeddings,   // OpenAI's /v1/embeddings
};

// How the answer is to be written.
struct AnswerShape {
  bool chat = false;
  bool stream = false;
  bool include_usage = false;     // stream: a last chunk with the usage
  bool continuous_usage = false;  // stream: the usage so far in every chunk
  bool logprobs = false;
  int32_t top_logprobs = 0;
  bool echo_logprobs = false;    // completions: the prompt's tokens are among those of `logprobs`
  int32_t prompt_logprobs = -1;  // alternatives of each of the prompt's tokens; -1: none are told
  bool base64 = false;           // embeddings: little-endian floats instead of numbers
  bool token_ids = false;        // the ids of the output tokens beside their text
  bool timings = false;          // which node did what for how long, at the end
  bool reasoning = true;         // chat: what the model thought is part of the answer
};

struct ApiRequest {
  Dialect dialect = Dialect::kCompletions;
  Generation generation;
  AnswerShape shape;
  ToolOffer tools;
  Json told;  // kResponses: members of the request that the answer repeats
};

// Whether `salt` may be a cache_salt: [A-Za-z0-9_.-]{1,64}.
bool IsCacheSalt(absl::string_view salt);

// Parses text into a JSON object. 400 for anything else, without quoting the body.
std::optional<ApiError> ParseBody(absl::string_view text, Json* body);

// The body of POST /v1/chat/completions and of POST /v1/completions. Token ids must be below
// `vocab_size`. Fields that are unknown are ignored, as vLLM does; known ones that would change the
// answer and are not supported are errors.
std::optional<ApiError> ParseChatRequest(const Json& body, int32_t vocab_size, ApiRequest* request);
std::optional<ApiError> ParseCompletionRequest(const Json& body, int32_t vocab_size,
                                               ApiRequest* request);

// Prompts in the field `field`: a string, token ids, or a list of at most `count_max` of either.
void ReadPrompts(FieldReader& fields, const char* field, size_t count_max, int32_t vocab_size,
                 Generation* generation);
// model, user, priority, objectives and cache_salt: which server, who asks, and how urgently.
void ReadAdmission(FieldReader& fields, Generation* generation);

// What the tools of a request and the way in which its model reasons mean for the prompt, the
// grammar and the tokens that are shown. To be called once, after parsing.
std::optional<ApiError> ApplyTurnFormat(const TurnFormat& format,
                                        const models::text::Tokenizer& tokenizer,
                                        ApiRequest* request);

// The `messages` of a chat, normalised for the chat template: content is one string, developer is
// system. Writes a JSON array.
std::optional<ApiError> ParseMessages(const Json& messages, std::string* out);

}  // namespace baton::router
