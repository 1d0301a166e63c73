#include "router/api/dialects.h"

#include "router/api/embeddings_api.h"
#include "router/api/messages_api.h"
#include "router/api/responses_api.h"
#include "router/openai_answer.h"

namespace baton::router {

ErrorForm ErrorFormOf(Dialect dialect) {
  return dialect == Dialect::kMessages ? ErrorForm::kAnthropic : ErrorForm::kOpenAi;
}

std::optional<ApiError> ParseRequest(Dialect dialect, const Json& body, int32_t vocab_size,
                                     ApiRequest* request) {
  switch (dialect) {
    case Dialect::kChat:
      return ParseChatRequest(body, vocab_size, request);
    case Dialect::kResponses:
      return ParseResponsesRequest(body, vocab_size, request);
    case Dialect::kMessages:
      return ParseMessagesRequest(body, vocab_size, /*count=*/false, request);
    case Dialect::kEmbeddings:
      return ParseEmbeddingsRequest(body, vocab_size, request);
    case Dialect::kCompletions:
      break;
  }
  return ParseCompletionRequest(body, vocab_size, request);
}

std::unique_ptr<AnswerWriter> MakeAnswerWriter(const models::text::Tokenizer& tokenizer,
                                               const TurnFormat& format, const ApiRequest& request,
                                               const AnswerHead& head) {
  TurnReading reading;
  reading.tools = request.tools.offered();
  // Where there is nothing to look for the text goes through as it is.
  if (reading.tools || format.reasoning != ReasoningStyle::kNone) reading.format = &format;
  if (request.dialect == Dialect::kResponses) {
    return MakeResponsesWriter(tokenizer, request, reading, head);
  }
  if (request.dialect == Dialect::kMessages) return MakeMessagesWriter(request, reading, head);
  if (request.dialect == Dialect::kEmbeddings) {
    return MakeEmbeddingsWriter(request.shape, head);
  }
  if (request.shape.stream) {
    return std::make_unique<AnswerStream>(tokenizer, request.shape, head, reading);
  }
  return std::make_unique<AnswerCollector>(tokenizer, request.shape, head, reading);
}

}  // namespace baton::router
