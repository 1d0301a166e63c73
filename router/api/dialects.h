// The five dialects of the HTTP API: each reads its own requests and writes its own answers.
#pragma once

#include <memory>
#include <optional>

#include "router/answer_writer.h"
#include "router/api/turn_format.h"
#include "router/openai_api.h"

namespace baton::router {

ErrorForm ErrorFormOf(Dialect dialect);

// Reads a body in the words of `dialect`.
std::optional<ApiError> ParseRequest(Dialect dialect, const Json& body, int32_t vocab_size,
                                     ApiRequest* request);

// Writes the answer of `request`. `tokenizer` and `format` must outlive the writer.
std::unique_ptr<AnswerWriter> MakeAnswerWriter(const models::text::Tokenizer& tokenizer,
                                               const TurnFormat& format, const ApiRequest& request,
                                               const AnswerHead& head);

}  // namespace baton::router
