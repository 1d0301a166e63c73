// One Run call: compute, first token, hand-over.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "engine/engine.h"
#include "engine/step_listener.h"
#include "prefill_node/kv_handoff.h"
#include "proto/prefill.pb.h"
#include "server/event_stream.h"

namespace baton::prefill_node {

// Counters of a node's calls, for load reports.
struct CallCounters {
  std::atomic<int32_t> active{0};
  std::atomic<int64_t> kv_bytes_sent{0};
  std::atomic<int64_t> tokens_fetched{0};
};

// Shared by gRPC (cancel), the engine (layers, token) and the sender (done). The stream ends
// exactly once, when both the engine and the sender are through with the sequence.
class PrefillCall final : public engine::StepListener,
                          public std::enable_shared_from_this<PrefillCall> {
 public:
  PrefillCall(engine::Engine& engine, const Clock& clock, std::shared_ptr<CallCounters> counters);
  ~PrefillCall() override;

  grpc::ServerWriteReactor<v1::PrefillEvent>* Attach();
  // Ends the call with an error before anything started.
  void Refuse(absl::Status status);
  // Before Submit: so many of the prompt's tokens came from a peer.
  void Fetched(int32_t tokens, absl::Duration took);
  // Hands the sequence to the engine; `handoff` null: no decode follows. An error of the engine
  // ends the call.
  void Submit(std::unique_ptr<engine::Sequence> sequence, std::unique_ptr<KvHandoff> handoff);

  void OnLayerWritten(const engine::Sequence& sequence, int32_t layer, int64_t begin,
                      int64_t end) override;
  void OnStarted(const engine::Sequence& sequence) override;
  void OnPromptScored(const engine::Sequence& sequence, int64_t first,
                      const std::vector<engine::PromptToken>& tokens) override;
  void OnToken(const engine::Sequence& sequence, const engine::SampledToken& token,
               engine::FinishReason reason) override;
  void OnFinished(std::unique_ptr<engine::Sequence> sequence, absl::Status status) override;

 private:
  void Cancelled();
  // The last event of a sequence that embeds.
  absl::Status SendEmbedding(const engine::Sequence& sequence);
  void HandoffDone(absl::Status status);
  // Ends the stream when the last part is through.
  void EndWhenThrough();

  engine::Engine& engine_;
  const Clock& clock_;
  const std::shared_ptr<CallCounters> counters_;
  const std::shared_ptr<server::EventStream<v1::PrefillEvent>> stream_;
  std::unique_ptr<KvHandoff> handoff_;  // set by Submit, then constant
  uint64_t id_ = 0;
  int32_t fetched_tokens_ = 0;  // until Submit, then constant
  absl::Duration fetch_took_;
  Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool engine_through_ ABSL_GUARDED_BY(mutex_) = false;
  bool handoff_through_ ABSL_GUARDED_BY(mutex_) = true;  // false between Start and its end
  bool committing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status engine_status_ ABSL_GUARDED_BY(mutex_);
  absl::Status handoff_status_ ABSL_GUARDED_BY(mutex_);
  absl::Time computed_ ABSL_GUARDED_BY(mutex_);
  absl::Time committed_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<engine::Sequence> sequence_
      ABSL_GUARDED_BY(mutex_);  // keeps the blocks until all is through
};

}  // namespace baton::prefill_node
