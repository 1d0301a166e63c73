// OpenAI's Responses: /v1/responses, without state between requests.
#pragma once

#include <memory>
#include <optional>

#include "router/answer_writer.h"
#include "router/api/turn_reader.h"
#include "router/openai_api.h"

namespace baton::router {

// Reads a request. Tools that are no functions are ignored; what would need state
// (previous_response_id, conversation, background) is refused by name.
std::optional<ApiError> ParseResponsesRequest(const Json& body, int32_t vocab_size,
                                              ApiRequest* request);

// Writes a response, streamed or not. `tokenizer` and what `reading` names must outlive the
// writer.
std::unique_ptr<AnswerWriter> MakeResponsesWriter(const models::text::Tokenizer& tokenizer,
                                                  const ApiRequest& request,
                                                  const TurnReading& reading,
                                                  const AnswerHead& head);

}  // namespace baton::router
