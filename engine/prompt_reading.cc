#include "engine/prompt_reading.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace baton::engine {

models::LogitRows RowsToRead(const PromptReading& reading, int64_t begin, int64_t end,
                             int64_t length) {
  // The row of the last token scores none of the prompt's.
  const int64_t rows_end = reading.embeds() ? length : length - 1;
  const bool unread = std::max(begin, reading.done) < std::min(end, rows_end);
  if (reading.needs_every_row() && unread) return models::LogitRows::kAll;
  if (reading.pooling == Pooling::kMean) return models::LogitRows::kNone;
  return end == length ? models::LogitRows::kLast : models::LogitRows::kNone;
}

absl::StatusOr<std::vector<PromptToken>> ReadLogits(absl::Span<const int32_t> prompt, int64_t begin,
                                                    const device::ConstMatrixView& logits,
                                                    PromptReading* reading) {
  std::vector<PromptToken> read;
  const int64_t end =
      std::min<int64_t>(begin + logits.rows, static_cast<int64_t>(prompt.size()) - 1);
  for (int64_t at = std::max(begin, reading->done); at < end; ++at) {
    const absl::Span<const float> row(logits.row(at - begin), static_cast<size_t>(logits.cols));
    PromptToken token;
    BATON_ASSIGN_OR_RETURN(token.token, Score(row, prompt[at + 1], reading->logprobs));
    token.rank = RankOf(row, prompt[at + 1]);
    read.push_back(std::move(token));
    reading->done = at + 1;
  }
  return read;
}

void ReadHidden(absl::Span<const float> hidden, int64_t begin, int64_t cols,
                PromptReading* reading) {
  const int64_t end = begin + static_cast<int64_t>(hidden.size()) / cols;
  reading->sum.resize(static_cast<size_t>(cols));
  for (int64_t at = std::max(begin, reading->done); at < end; ++at) {
    const float* row = hidden.data() + (at - begin) * cols;
    for (int64_t i = 0; i < cols; ++i) {
      reading->sum[i] = reading->pooling == Pooling::kMean ? reading->sum[i] + row[i] : row[i];
    }
    reading->done = at + 1;
  }
}

absl::StatusOr<std::vector<float>> EmbeddingOf(const PromptReading& reading) {
  double scale = 1.0;
  if (reading.pooling == Pooling::kMean) scale = 1.0 / static_cast<double>(reading.done);
  if (reading.normalize) {
    double squares = 0;
    for (const double value : reading.sum) squares += value * value;
    // A vector of zeros has no direction and stays as it is.
    if (squares > 0) scale = 1.0 / std::sqrt(squares);
  }
  std::vector<float> embedding;
  embedding.reserve(reading.sum.size());
  for (const double value : reading.sum) {
    if (!std::isfinite(value)) {
      return absl::InternalError(absl::StrCat("embedding: value ", embedding.size(), " of ",
                                              reading.sum.size(), " is ", value));
    }
    embedding.push_back(static_cast<float>(value * scale));
  }
  return embedding;
}

}  // namespace baton::engine
