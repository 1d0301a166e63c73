// OpenAI's /v1/embeddings: one vector for each text.
#pragma once

#include <memory>
#include <optional>

#include "router/answer_writer.h"
#include "router/openai_api.h"

namespace baton::router {

// Reads a request. `dimensions` is refused: vectors of models that were not trained for it must not
// be cut.
std::optional<ApiError> ParseEmbeddingsRequest(const Json& body, int32_t vocab_size,
                                               ApiRequest* request);

// Writes the list of vectors.
std::unique_ptr<AnswerWriter> MakeEmbeddingsWriter(const AnswerShape& shape,
                                                   const AnswerHead& head);

}  // namespace baton::router
