// One Generate call from lease to last token.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "decode_node/kv_intake.h"
#include "engine/engine.h"
#include "engine/step_listener.h"
#include "proto/decode.pb.h"
#include "server/event_stream.h"

namespace baton::decode_node {

// Shared by gRPC (cancel), the transport (commit), the lease timer (expiry) and the engine
// (tokens); its mutex decides who comes first. The stream ends exactly once.
class DecodeCall final : public engine::StepListener,
                         public std::enable_shared_from_this<DecodeCall> {
 public:
  // What all calls of a node share; must outlive them.
  struct Node {
    engine::Engine& engine;
    KvIntake& intake;
    kvcache::PrefixCache* cache;  // null: nothing is reused
    const Clock& clock;
  };

  // `sequence` has everything but blocks, first token and listener. `active` counts calls that have
  // not ended.
  DecodeCall(const Node& node, std::string ticket_id, std::unique_ptr<engine::Sequence> sequence,
             std::shared_ptr<std::atomic<int32_t>> active);
  ~DecodeCall() override;

  // Reserves the blocks that are not cached and announces the lease; an error ends the call.
  // `prefill_block_tokens`: of the prefill node's blocks, in which the lease counts what is
  // missing; 0: as this node's.
  void Lease(const v1::Ticket& ticket, int32_t prefill_block_tokens, int32_t lease_timeout_ms);
  // Has the prompt computed here; an error of the engine ends the call.
  void PrefillHere();
  // Ends the call with an error before anything was reserved.
  void Refuse(absl::Status status);
  grpc::ServerWriteReactor<v1::DecodeEvent>* Attach();

  void OnLayerWritten(const engine::Sequence&, int32_t, int64_t, int64_t) override {}
  void OnStarted(const engine::Sequence& sequence) override;
  void OnPromptScored(const engine::Sequence& sequence, int64_t first,
                      const std::vector<engine::PromptToken>& tokens) override;
  void OnToken(const engine::Sequence& sequence, const engine::SampledToken& token,
               engine::FinishReason reason) override;
  void OnFinished(std::unique_ptr<engine::Sequence> sequence, absl::Status status) override;

 private:
  enum class State : uint8_t { kLeased, kRunning, kEnded };
  void SendPrefilled(const engine::Sequence& sequence);
  absl::Status SendEmbedding(const engine::Sequence& sequence);
  void SendFinished(const engine::Sequence& sequence);
  void Committed(std::vector<kvcache::BlockRef> blocks, const v1::Token& first_token);
  void Cancelled();
  // Ends the call unless it ended; true when this did it.
  bool EndIf(State state, absl::Status status);

  const Node node_;
  const std::string ticket_id_;
  const std::shared_ptr<std::atomic<int32_t>> active_;
  const std::shared_ptr<server::EventStream<v1::DecodeEvent>> stream_;
  Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kLeased;
  std::unique_ptr<engine::Sequence> sequence_ ABSL_GUARDED_BY(mutex_);  // until it is committed
  uint64_t id_ = 0;
  // Engine thread, after the commit; with prefill_here, after the first token, which begins decode.
  bool prefill_here_ = false;
  absl::Time committed_;
  absl::Time decode_begin_;
  absl::Time previous_;
  bool first_message_ = true;
  engine::FinishReason reason_ = engine::FinishReason::kNone;
};

}  // namespace baton::decode_node
