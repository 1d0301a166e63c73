// Engine: what a step computes, and what becomes of its rows.
#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "engine/engine.h"

namespace baton::engine {
namespace {

// Of the tokens that an item computes, without its draft.
models::LogitRows RowsOf(const StepPlan::Item& item) {
  const Sequence& s = *item.sequence;
  if (!item.draft.empty()) return models::LogitRows::kAll;
  // Behind the prompt there is nothing to read but the next token.
  if (s.length() > s.prompt_tokens) {
    return item.tokens == s.uncomputed() ? models::LogitRows::kLast : models::LogitRows::kNone;
  }
  return RowsToRead(s.reading, s.computed, s.computed + item.tokens, s.prompt_tokens);
}

int64_t CountRows(const StepPlan::Item& item) {
  const models::LogitRows rows = RowsOf(item);
  if (rows == models::LogitRows::kNone) return 0;
  if (rows == models::LogitRows::kLast) return 1;
  return item.tokens + static_cast<int64_t>(item.draft.size());
}

}  // namespace

absl::Status Engine::Forward(const StepPlan& plan, device::ConstMatrixView* logits) {
  models::ForwardBatch batch;
  batch.kv = store_.layers();
  const int64_t hidden_cols = model_.config().hidden;
  int64_t hidden_rows = 0;
  for (const StepPlan::Item& item : plan.run) {
    if (item.sequence->reading.embeds()) hidden_rows += CountRows(item);
  }
  hidden_.resize(static_cast<size_t>(hidden_rows * hidden_cols));
  absl::Span<float> hidden = absl::MakeSpan(hidden_);
  int64_t tokens = 0;
  for (const StepPlan::Item& item : plan.run) {
    Sequence& s = *item.sequence;
    const models::LogitRows rows = RowsOf(item);
    const size_t floats =
        s.reading.embeds() ? static_cast<size_t>(CountRows(item) * hidden_cols) : 0;
    // The model reads tokens and draft as one run; the draft leaves the sequence again below.
    s.tokens.insert(s.tokens.end(), item.draft.begin(), item.draft.end());
    const int64_t count = item.tokens + static_cast<int64_t>(item.draft.size());
    tokens += count;
    batch.sequences.push_back({.tokens = absl::MakeConstSpan(s.tokens).subspan(s.computed, count),
                               .position = s.computed,
                               .block_table = s.blocks.ids(),
                               .logits = rows,
                               .hidden = hidden.first(floats)});
    hidden.remove_prefix(floats);
  }
  progress_.Moved(tokens);
  batch.on_layer_written = [this, &plan, tokens](int32_t layer) {
    progress_.Moved(tokens);
    for (const StepPlan::Item& item : plan.run) {
      const Sequence& s = *item.sequence;
      s.listener->OnLayerWritten(s, layer, s.computed, s.computed + item.tokens);
    }
  };
  const absl::Status status = model_.Forward(batch, logits);
  for (const StepPlan::Item& item : plan.run) {
    item.sequence->tokens.resize(item.sequence->tokens.size() - item.draft.size());
  }
  return status;
}

void Engine::Advance(const StepPlan& plan, const device::ConstMatrixView& logits) {
  int64_t row = 0;
  absl::Span<const float> hidden = hidden_;
  for (const StepPlan::Item& item : plan.run) {
    Sequence& s = *item.sequence;
    const bool last = item.tokens == s.uncomputed();
    const int64_t rows = CountRows(item), first_row = row;
    const int64_t begin = s.computed;
    const bool reads = RowsOf(item) == models::LogitRows::kAll && s.reading.logprobs >= 0;
    s.computed += item.tokens;
    reuse_.File(&s);
    if (s.reading.embeds()) {
      const size_t floats = static_cast<size_t>(rows * model_.config().hidden);
      ReadHidden(hidden.first(floats), s.computed - rows, model_.config().hidden, &s.reading);
      hidden.remove_prefix(floats);
      s.last_token = clock_.Now();
      if (last) Finish(&s, absl::OkStatus());
      continue;
    }
    row += rows;
    if (reads && item.draft.empty()) {
      const device::ConstMatrixView scores{logits.row(first_row), rows, logits.cols, logits.stride};
      if (!ScorePrompt(&s, begin, scores)) continue;
    }
    if (!last) continue;
    const int64_t draw_row = item.draft.empty() ? row - 1 : first_row;
    if (DrawTokens(item, logits, draw_row) && !item.draft.empty()) reuse_.File(&s);
  }
}

bool Engine::ScorePrompt(Sequence* sequence, int64_t begin, const device::ConstMatrixView& logits) {
  Sequence& s = *sequence;
  const absl::StatusOr<std::vector<PromptToken>> tokens =
      ReadLogits(absl::MakeConstSpan(s.tokens).first(s.prompt_tokens), begin, logits, &s.reading);
  if (!tokens.ok()) {
    Finish(&s, tokens.status());
    return false;
  }
  const int64_t first = s.reading.done - static_cast<int64_t>(tokens->size()) + 1;
  if (!tokens->empty()) s.listener->OnPromptScored(s, first, *tokens);
  return true;
}

bool Engine::DrawTokens(const StepPlan::Item& item, const device::ConstMatrixView& logits,
                        int64_t row) {
  Sequence& s = *item.sequence;
  const size_t drafted = item.draft.size();
  for (size_t drawn = 0;; ++row) {
    const absl::Span<const float> scores(logits.row(row), static_cast<size_t>(logits.cols));
    const absl::StatusOr<SampledToken> token = Draw(&s, scores);
    if (!token.ok()) {
      Finish(&s, token.status());
      return false;
    }
    // The keys and values of a token that was drafted rightly are in the blocks already.
    const bool right = drawn < drafted && token->id == item.draft[drawn];
    s.tokens.push_back(token->id);
    if (right) ++s.computed;
    ++drawn;
    s.last_token = clock_.Now();
    const FinishReason reason = ReasonAfter(s, token->id);
    const bool ends = reason != FinishReason::kNone || s.first_token_only;
    if ((ends || !right) && drafted > 0) Learn(&s, drafted, right ? drawn : drawn - 1, drawn);
    if (ends && drafted > 0) reuse_.File(&s);
    s.listener->OnToken(s, *token, reason);
    if (ends) Finish(&s, absl::OkStatus());
    if (ends || !right) return !ends;
  }
}

void Engine::Learn(Sequence* sequence, size_t drafted, size_t kept, size_t drawn) {
  sequence->draft_length.Learn(static_cast<int64_t>(drafted), static_cast<int64_t>(kept));
  MutexLock lock(mutex_);
  stats_.tokens_drafted += static_cast<int64_t>(drafted);
  stats_.drafts_kept += static_cast<int64_t>(kept);
  stats_.tokens_drawn += static_cast<int64_t>(drawn) - 1;  // beside the one of each step
}

absl::StatusOr<SampledToken> Engine::Draw(Sequence* sequence,
                                          absl::Span<const float> scores) const {
  Sequence& s = *sequence;
  std::vector<uint32_t> mask;
  if (s.constraint != nullptr) {
    const absl::Span<const int32_t> output =
        absl::MakeConstSpan(s.tokens).subspan(s.prompt_tokens - s.first_index);
    BATON_RETURN_IF_ERROR(s.constraint->Accept(output.subspan(s.constraint_tokens)));
    s.constraint_tokens = s.output_tokens();
    BATON_RETURN_IF_ERROR(s.constraint->Allowed(static_cast<int32_t>(scores.size()), &mask));
  }
  std::vector<int32_t> banned;
  const bool must_end = s.constraint != nullptr && s.constraint->IsComplete();
  if (s.output_tokens() < s.stop.min_tokens && !must_end) {
    banned = options_.eos_ids;
    banned.insert(banned.end(), s.stop.stop_token_ids.begin(), s.stop.stop_token_ids.end());
  }
  return Sample(scores, s.sampling,
                {.tokens = s.tokens,
                 .prompt_tokens = s.prompt_tokens - s.first_index,
                 .position = s.length(),
                 .banned_ids = banned,
                 .mask = mask});
}

FinishReason Engine::ReasonAfter(const Sequence& sequence, int32_t token) const {
  const auto contains = [token](const std::vector<int32_t>& ids) {
    return std::find(ids.begin(), ids.end(), token) != ids.end();
  };
  if (!sequence.stop.ignore_eos && contains(options_.eos_ids)) return FinishReason::kStop;
  if (contains(sequence.stop.stop_token_ids)) return FinishReason::kStop;
  if (sequence.output_tokens() >= sequence.stop.max_tokens) return FinishReason::kLength;
  if (sequence.length() >= options_.context_length) return FinishReason::kLength;
  return FinishReason::kNone;
}

}  // namespace baton::engine
