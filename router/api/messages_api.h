// Anthropic's Messages: /v1/messages and /v1/messages/count_tokens.
#pragma once

#include <memory>
#include <optional>

#include "router/answer_writer.h"
#include "router/api/turn_reader.h"
#include "router/openai_api.h"

namespace baton::router {

// Reads a request. Tools without an input_schema (those that Anthropic runs itself) and
// cache_control are ignored. `count`: only the prompt matters, max_tokens is not required.
std::optional<ApiError> ParseMessagesRequest(const Json& body, int32_t vocab_size, bool count,
                                             ApiRequest* request);

// Writes a message, streamed or not. What `reading` names must outlive the writer.
std::unique_ptr<AnswerWriter> MakeMessagesWriter(const ApiRequest& request,
                                                 const TurnReading& reading,
                                                 const AnswerHead& head);

}  // namespace baton::router
