// The loop that turns waiting sequences into steps of a model.
#pragma once

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "engine/batch_policy.h"
#include "engine/prefix_reuse.h"
#include "engine/progress.h"
#include "engine/step_listener.h"
#include "kvcache/block_pool.h"
#include "kvcache/kv_store.h"
#include "models/model.h"

namespace baton::engine {

// A snapshot for load reports.
struct EngineStats {
  int32_t running = 0;          // sequences of the latest step
  int32_t waiting = 0;          // all others
  int32_t preempted = 0;        // of those, the ones that lost their blocks
  int64_t tokens_queued = 0;    // to be computed yet, over all sequences
  int64_t tokens_computed = 0;  // since start
  int64_t tokens_drawn = 0;     // since start
  int64_t tokens_drafted = 0;   // computed ahead of their turn, since start
  int64_t drafts_kept = 0;      // of those, the ones that were then drawn
  int64_t tokens_cached = 0;    // of prompts, taken from the prefix cache, since start
  int64_t steps = 0;            // since start
  double tokens_per_s = 0;      // computed while stepping, moving average
  double step_seconds = 0;      // moving average
};

// One thread owns the model, the sequences and their blocks. Submit, Cancel and stats may be called
// from any thread.
class Engine {
 public:
  struct Options {
    int32_t queue_max = 256;  // sequences in the engine
    std::vector<int32_t> eos_ids;
    int64_t context_length = 0;             // a sequence ends there
    kvcache::PrefixCache* cache = nullptr;  // null: nothing is reused
    int32_t draft_tokens_max = 0;           // drafted for one sequence in one step; 0: none
  };

  // Everything passed in must outlive the engine.
  Engine(models::Model& model, const kvcache::KvStore& store, kvcache::BlockPool& pool,
         BatchPolicy& policy, const Clock& clock, Options options);
  ~Engine();  // stops

  void Start();
  // Ends every sequence with Cancelled and joins the thread.
  void Stop();

  // Takes a sequence. ResourceExhausted when queue_max are there ("engine: 256 sequences queued,
  // limit 256"), InvalidArgument when it can never fit the pool or the context, Unavailable after
  // Stop. Only on OK does the engine take it, and the listener hears of it.
  absl::Status Submit(std::unique_ptr<Sequence> sequence);
  // Ends a sequence before the next step: OnFinished(Cancelled). Unknown ids are ignored.
  void Cancel(uint64_t id);
  EngineStats stats() const;
  // How late the engine's thread is with the next piece of its work: a turn of its loop, or a layer
  // of the model. Zero while it has no sequence.
  absl::Duration stalled_for() const {
    MutexLock lock(mutex_);
    return held_ == 0 || stop_ ? absl::ZeroDuration() : progress_.late();
  }

 private:
  void Loop();
  // Takes what was submitted and cancelled; waits for work when `idle`. False: stop.
  bool TakeInbox(bool idle);
  bool RunStep();  // false when there was nothing to run
  // Shortens and drops items so that scored prompts ask for few rows of logits.
  void LimitScoredRows(StepPlan* plan) const;
  void Preempt(const std::vector<Sequence*>& victims);
  static void GiveBlocksUp(Sequence* sequence);
  // Takes what is cached for the sequences that start, then blocks for what they compute.
  void TakeBlocks(StepPlan* plan);
  // Adds drafts to the items that draw, as far as tokens and blocks are left over.
  void AddDrafts(StepPlan* plan);
  absl::Status Forward(const StepPlan& plan, device::ConstMatrixView* logits);
  void Advance(const StepPlan& plan, const device::ConstMatrixView& logits);
  // Reads rows of logits that follow the tokens from position `begin` on. False: the sequence has
  // ended.
  bool ScorePrompt(Sequence* sequence, int64_t begin, const device::ConstMatrixView& logits);
  // Draws the item's next token, and those after it as far as the draft was right; `row`: of the
  // first in `logits`. False: the sequence has ended.
  bool DrawTokens(const StepPlan::Item& item, const device::ConstMatrixView& logits, int64_t row);
  // Counts a draft of which `kept` tokens were drawn, and with them `drawn` in all.
  void Learn(Sequence* sequence, size_t drafted, size_t kept, size_t drawn);
  absl::StatusOr<SampledToken> Draw(Sequence* sequence, absl::Span<const float> scores) const;
  FinishReason ReasonAfter(const Sequence& sequence, int32_t token) const;
  void Finish(Sequence* sequence, absl::Status status);
  // What waits now, also when no step follows.
  void UpdateQueueStats();
  void UpdateStats(const StepPlan& plan, absl::Duration took, int64_t tokens_cached);

  models::Model& model_;
  const kvcache::KvStore& store_;
  kvcache::BlockPool& pool_;
  BatchPolicy& policy_;
  const Clock& clock_;
  const Options options_;
  const PrefixReuse reuse_;

  Progress progress_;
  std::vector<float> hidden_;  // engine thread only: of the latest step, [rows, hidden]
  std::vector<std::unique_ptr<Sequence>> sequences_;  // engine thread only, in order of arrival

  mutable Mutex mutex_;
  CondVar wake_;
  std::vector<std::unique_ptr<Sequence>> submitted_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint64_t> cancelled_ ABSL_GUARDED_BY(mutex_);
  int32_t held_ ABSL_GUARDED_BY(mutex_) = 0;  // sequences in the engine, submitted ones included
  int64_t submitted_tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  EngineStats stats_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace baton::engine
