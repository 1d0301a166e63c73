// The Prefill service.
#pragma once

#include <atomic>
#include <memory>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/grammar/grammar_constraint.h"
#include "kvcache/kv_store.h"
#include "kvcache/tier_reader.h"
#include "kvcache/transfer/kv_fetcher.h"
#include "kvcache/transfer/kv_sender.h"
#include "models/model_config.h"
#include "prefill_node/prefill_call.h"
#include "prefill_node/prefix_fetch.h"
#include "proto/prefill.grpc.pb.h"

namespace baton::prefill_node {

// Thread-safe. Everything passed in must outlive the service, and the service its calls: wait for
// active() == 0.
class PrefillService final : public v1::Prefill::CallbackService {
 public:
  struct Parts {
    engine::Engine& engine;
    const kvcache::KvStore& store;
    kvcache::KvSender& sender;
    const models::ModelConfig& config;
    const Clock& clock;
    engine::GrammarConstraints* grammars = nullptr;  // null: grammars are refused
    // All null: nothing is brought back from tiers or fetched from peers.
    kvcache::PrefixCache* cache = nullptr;
    kvcache::TierReader* tier_reader = nullptr;
    kvcache::KvFetcher* fetcher = nullptr;
  };
  explicit PrefillService(const Parts& parts) : parts_(parts) {}

  grpc::ServerWriteReactor<v1::PrefillEvent>* Run(grpc::CallbackServerContext* context,
                                                  const v1::PrefillRequest* request) override;

  // From now on new calls are answered Unavailable.
  void StartDraining() { draining_ = true; }
  bool draining() const { return draining_; }
  // Calls that have not ended.
  int32_t active() const { return counters_->active; }
  int64_t kv_bytes_sent() const { return counters_->kv_bytes_sent; }
  int64_t tokens_fetched() const { return counters_->tokens_fetched; }

 private:
  // A call whose sequence is not in the engine yet.
  struct Waiting {
    std::shared_ptr<PrefillCall> call;
    std::unique_ptr<engine::Sequence> sequence;
    std::unique_ptr<KvHandoff> handoff;
    v1::PeerPrefix peer;

    void Submit() { call->Submit(std::move(sequence), std::move(handoff)); }
  };
  // Submits the sequence after its beginning was brought back from a tier and fetched from a peer,
  // as far as they have it and it pays. Statics: a call may outlive the service for a moment.
  static void Begin(const Parts& parts, std::shared_ptr<CallCounters> counters,
                    std::shared_ptr<Waiting> waiting);
  static void FetchAndSubmit(const Parts& parts, std::shared_ptr<CallCounters> counters,
                             std::shared_ptr<Waiting> waiting);
  static FetchPlan PlanFor(const Parts& parts, const engine::Sequence& sequence,
                           const v1::PeerPrefix& peer);

  const Parts parts_;
  std::atomic<bool> draining_{false};
  std::atomic<uint64_t> next_id_{1};
  std::shared_ptr<CallCounters> counters_ = std::make_shared<CallCounters>();
};

}  // namespace baton::prefill_node
