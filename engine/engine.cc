#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt_lookup.h"

namespace baton::engine {
namespace {

// How long the engine waits before it looks again for blocks that others hold (leases of a decode
// node).
constexpr std::chrono::milliseconds kBlocksPoll(2);
// How many of the latest tokens must stand earlier in the text for a draft. Shorter matches guess
// worse than they are worth.
constexpr int32_t kNgramMax = 4;
constexpr int32_t kNgramMin = 2;
// Weight of the latest step in the moving averages.
constexpr double kAverageWeight = 0.2;

double Average(double old, double latest) {
  return old == 0 ? latest : old + kAverageWeight * (latest - old);
}

}  // namespace

Engine::Engine(models::Model& model, const kvcache::KvStore& store, kvcache::BlockPool& pool,
               BatchPolicy& policy, const Clock& clock, Options options)
    : model_(model),
      store_(store),
      pool_(pool),
      policy_(policy),
      clock_(clock),
      options_(std::move(options)),
      reuse_(options_.cache, store.geometry().block_tokens),
      progress_(clock) {}

Engine::~Engine() { Stop(); }

void Engine::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void Engine::Stop() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status Engine::Submit(std::unique_ptr<Sequence> sequence) {
  const int64_t length_max = std::min(
      options_.context_length,
      sequence->prompt_tokens +
          (sequence->first_token_only ? 0 : sequence->stop.max_tokens - sequence->first_index));
  const int32_t blocks =
      kvcache::BlocksFor(std::max(length_max, sequence->length()), store_.geometry().block_tokens);
  if (blocks > pool_.stats().total) {
    return absl::InvalidArgumentError(absl::StrCat("engine: the sequence may need ", blocks,
                                                   " blocks, the pool has ", pool_.stats().total));
  }
  MutexLock lock(mutex_);
  if (stop_) return absl::UnavailableError("engine: stopped");
  if (held_ >= options_.queue_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("engine: ", held_, " sequences queued, limit ", options_.queue_max));
  }
  if (held_++ == 0) progress_.Moved();
  submitted_tokens_ += sequence->uncomputed();
  if (sequence->submitted == absl::Time()) sequence->submitted = clock_.Now();
  submitted_.push_back(std::move(sequence));
  wake_.notify_all();
  return absl::OkStatus();
}

void Engine::Cancel(uint64_t id) {
  MutexLock lock(mutex_);
  cancelled_.push_back(id);
  wake_.notify_all();
}

EngineStats Engine::stats() const {
  MutexLock lock(mutex_);
  EngineStats stats = stats_;
  stats.waiting = held_ - stats.running;
  stats.tokens_queued += submitted_tokens_;
  return stats;
}

void Engine::Loop() {
  bool idle = true;
  while (TakeInbox(idle)) idle = !RunStep();
  while (!sequences_.empty()) {
    Finish(sequences_.back().get(), absl::CancelledError("engine: stopped"));
  }
}

bool Engine::TakeInbox(bool idle) {
  std::vector<std::unique_ptr<Sequence>> submitted;
  std::vector<uint64_t> cancelled;
  bool stop;
  progress_.Moved();
  UpdateQueueStats();
  {
    MutexLock lock(mutex_);
    const auto has_work = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return stop_ || !submitted_.empty() || !cancelled_.empty();
    };
    if (idle && sequences_.empty()) {
      stats_.running = 0;
      wake_.wait(mutex_, has_work);
    } else if (idle) {
      stats_.running = 0;
      wake_.wait_for(mutex_, kBlocksPoll, has_work);
    }
    submitted.swap(submitted_);
    cancelled.swap(cancelled_);
    for (const auto& sequence : submitted) submitted_tokens_ -= sequence->uncomputed();
    stop = stop_;
  }
  for (auto& sequence : submitted) {
    reuse_.File(sequence.get());  // what a hand-over brought
    sequences_.push_back(std::move(sequence));
  }
  for (const uint64_t id : cancelled) {
    const auto found = std::find_if(sequences_.begin(), sequences_.end(),
                                    [id](const auto& s) { return s->id == id; });
    if (found != sequences_.end()) Finish(found->get(), absl::CancelledError("cancelled"));
  }
  UpdateQueueStats();
  return !stop;
}

bool Engine::RunStep() {
  if (sequences_.empty()) return false;
  const std::vector<Sequence*> ready = reuse_.Ready(sequences_);
  StepPlan plan = policy_.Plan({.sequences = ready,
                                .blocks_free = pool_.stats().available(),
                                .block_tokens = store_.geometry().block_tokens,
                                .batch_tokens_max = model_.max_batch_tokens()});
  Preempt(plan.preempt);
  TakeBlocks(&plan);
  if (plan.run.empty()) return false;
  if (options_.draft_tokens_max > 0) AddDrafts(&plan);
  const absl::Time begin = clock_.Now();
  int64_t tokens_cached = 0;
  for (const StepPlan::Item& item : plan.run) {
    if (item.sequence->first_step != absl::Time()) continue;
    item.sequence->first_step = begin;
    tokens_cached += item.sequence->cached_tokens;
    item.sequence->listener->OnStarted(*item.sequence);
  }
  device::ConstMatrixView logits;
  const absl::Status status = Forward(plan, &logits);
  if (!status.ok()) {
    for (const StepPlan::Item& item : plan.run) Finish(item.sequence, status);
    return true;
  }
  UpdateStats(plan, clock_.Now() - begin, tokens_cached);
  Advance(plan, logits);
  return true;
}

void Engine::Preempt(const std::vector<Sequence*>& victims) {
  for (Sequence* victim : victims) {
    GiveBlocksUp(victim);
    ++victim->preemptions;
  }
}

void Engine::GiveBlocksUp(Sequence* sequence) {
  sequence->blocks.Clear();
  sequence->computed = 0;
  sequence->blocks_filed = 0;
}

void Engine::TakeBlocks(StepPlan* plan) {
  // First what is cached, so that no block of one sequence's prefix is taken for another.
  std::vector<Sequence*> starting;
  for (StepPlan::Item& item : plan->run) {
    if (item.sequence->blocks.size() > 0) continue;
    starting.push_back(item.sequence);
    reuse_.Attach(item.sequence);
    item.tokens = std::min(item.tokens, item.sequence->uncomputed());
  }
  std::vector<StepPlan::Item> ready;
  for (const StepPlan::Item& item : plan->run) {
    const int32_t lacking =
        BlocksLacking(*item.sequence, item.tokens, store_.geometry().block_tokens);
    if (lacking > 0) {
      // Others (leases) may have been faster since the plan was made: then this item waits for a
      // later step. One that was to start holds nothing meanwhile: two that wait for each other's
      // blocks would wait for ever.
      auto blocks = pool_.Allocate(lacking, kvcache::BlockPool::Use::kUsed);
      if (!blocks.ok()) {
        const bool was_to_start =
            std::find(starting.begin(), starting.end(), item.sequence) != starting.end();
        if (was_to_start) GiveBlocksUp(item.sequence);
        continue;
      }
      item.sequence->blocks.Append(*std::move(blocks));
    }
    ready.push_back(item);
  }
  plan->run = std::move(ready);
}

void Engine::AddDrafts(StepPlan* plan) {
  int64_t room = model_.max_batch_tokens();
  for (const StepPlan::Item& item : plan->run) room -= item.tokens;
  for (StepPlan::Item& item : plan->run) {
    Sequence& s = *item.sequence;
    // Only beside a single next token: a prompt's last chunk has work enough.
    if (item.tokens != 1 || s.uncomputed() != 1 || s.first_token_only || !s.speculate) continue;
    const int64_t most = std::min<int64_t>({s.draft_length.Next(options_.draft_tokens_max), room,
                                            s.stop.max_tokens - s.output_tokens() - 1,
                                            options_.context_length - s.length() - 1});
    std::vector<int32_t> draft = LookUpDraft(s.tokens, kNgramMax, kNgramMin, most);
    if (draft.empty()) continue;
    const int64_t count = 1 + static_cast<int64_t>(draft.size());
    const int32_t lacking = BlocksLacking(s, count, store_.geometry().block_tokens);
    if (lacking > 0) {
      auto blocks = pool_.Allocate(lacking, kvcache::BlockPool::Use::kUsed);
      if (!blocks.ok()) continue;  // others need the memory more
      s.blocks.Append(*std::move(blocks));
    }
    room -= count - 1;
    item.draft = std::move(draft);
  }
}

absl::Status Engine::Forward(const StepPlan& plan, device::ConstMatrixView* logits) {
  models::ForwardBatch batch;
  batch.kv = store_.layers();
  int64_t tokens = 0;
  for (const StepPlan::Item& item : plan.run) {
    Sequence& s = *item.sequence;
    const bool last = item.tokens == s.uncomputed();
    // The model reads tokens and draft as one run; the draft leaves the sequence again below.
    s.tokens.insert(s.tokens.end(), item.draft.begin(), item.draft.end());
    const int64_t count = item.tokens + static_cast<int64_t>(item.draft.size());
    tokens += count;
    batch.sequences.push_back({.tokens = absl::MakeConstSpan(s.tokens).subspan(s.computed, count),
                               .position = s.computed,
                               .block_table = s.blocks.ids(),
                               .logits = !item.draft.empty() ? models::LogitRows::kAll
                                         : last              ? models::LogitRows::kLast
                                                             : models::LogitRows::kNone});
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
  for (const StepPlan::Item& item : plan.run) {
    Sequence& s = *item.sequence;
    const bool last = item.tokens == s.uncomputed();
    s.computed += item.tokens;
    reuse_.File(&s);
    if (!last) continue;
    const int64_t first_row = row;
    row += 1 + static_cast<int64_t>(item.draft.size());
    if (DrawTokens(item, logits, first_row) && !item.draft.empty()) reuse_.File(&s);
  }
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

void Engine::Finish(Sequence* sequence, absl::Status status) {
  const auto found = std::find_if(sequences_.begin(), sequences_.end(),
                                  [sequence](const auto& s) { return s.get() == sequence; });
  std::unique_ptr<Sequence> owned = std::move(*found);
  sequences_.erase(found);
  {
    MutexLock lock(mutex_);
    --held_;
  }
  // The listener may be the last to hold itself: keep it until the call is over.
  const std::shared_ptr<StepListener> listener = owned->listener;
  listener->OnFinished(std::move(owned), std::move(status));
}

void Engine::UpdateQueueStats() {
  int64_t queued = 0;
  int32_t preempted = 0;
  for (const auto& sequence : sequences_) {
    queued += reuse_.Uncached(*sequence);
    if (sequence->preemptions > 0 && sequence->computed == 0) ++preempted;
  }
  MutexLock lock(mutex_);
  stats_.tokens_queued = queued;
  stats_.preempted = preempted;
}

void Engine::UpdateStats(const StepPlan& plan, absl::Duration took, int64_t tokens_cached) {
  int64_t tokens = 0, drawn = 0;
  for (const StepPlan::Item& item : plan.run) {
    tokens += item.tokens;
    drawn += item.tokens == item.sequence->uncomputed() ? 1 : 0;
  }
  const double seconds = std::max(absl::ToDoubleSeconds(took), 1e-9);
  MutexLock lock(mutex_);
  stats_.running = static_cast<int32_t>(plan.run.size());
  stats_.tokens_computed += tokens;
  stats_.tokens_drawn += drawn;
  stats_.tokens_cached += tokens_cached;
  stats_.steps += 1;
  stats_.tokens_per_s = Average(stats_.tokens_per_s, static_cast<double>(tokens) / seconds);
  stats_.step_seconds = Average(stats_.step_seconds, seconds);
}

}  // namespace baton::engine
