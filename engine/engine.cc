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
// Rows of logits that one step makes for prompts that are scored: what bounds their memory.
constexpr int64_t kScoredRowsMax = 128;
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
  LimitScoredRows(&plan);
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

void Engine::LimitScoredRows(StepPlan* plan) const {
  const int32_t block_tokens = store_.geometry().block_tokens;
  int64_t left = kScoredRowsMax;
  std::vector<StepPlan::Item> kept;
  for (StepPlan::Item& item : plan->run) {
    const Sequence& s = *item.sequence;
    if (s.reading.logprobs >= 0 && s.computed + 1 < s.prompt_tokens) {
      // As policies do it: a chunk ends where a block does, or the prompt.
      if (item.tokens > left)
        item.tokens = std::max<int64_t>(left / block_tokens, 0) * block_tokens;
      left -= item.tokens;
      if (item.tokens == 0) continue;
    }
    kept.push_back(std::move(item));
  }
  plan->run = std::move(kept);
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
    const bool draws = !item.sequence->reading.embeds();
    drawn += draws && item.tokens == item.sequence->uncomputed() ? 1 : 0;
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
