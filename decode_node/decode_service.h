// The Decode service: a lease first, then tokens.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/clock.h"
#include "decode_node/kv_intake.h"
#include "engine/engine.h"
#include "engine/grammar/grammar_constraint.h"
#include "kvcache/block_pool.h"
#include "kvcache/kv_layout.h"
#include "kvcache/prefix_cache.h"
#include "kvcache/tier_reader.h"
#include "models/model_config.h"
#include "proto/decode.grpc.pb.h"

namespace baton::decode_node {

// Thread-safe. Everything passed in must outlive the service, and the service its calls: wait for
// active() == 0.
class DecodeService final : public v1::Decode::CallbackService {
 public:
  struct Parts {
    engine::Engine& engine;
    KvIntake& intake;
    const kvcache::BlockPool& pool;
    kvcache::PrefixCache* cache;  // null: nothing is reused
    kvcache::TierReader& tier_reader;
    const models::ModelConfig& config;
    const kvcache::KvLayout& layout;
    const Clock& clock;
    int32_t lease_timeout_ms = 10000;
    engine::GrammarConstraints* grammars = nullptr;  // null: grammars are refused
    bool speculate = false;                          // for requests that do not say
  };
  explicit DecodeService(const Parts& parts) : parts_(parts) {}

  grpc::ServerWriteReactor<v1::DecodeEvent>* Generate(grpc::CallbackServerContext* context,
                                                      const v1::DecodeRequest* request) override;
  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context,
                                  const v1::RenewRequest* request, v1::RenewReply* reply) override;

  // From now on new calls are answered Unavailable.
  void StartDraining() { draining_ = true; }
  bool draining() const { return draining_; }
  // Calls that have not ended.
  int32_t active() const { return *active_; }

 private:
  absl::StatusOr<std::unique_ptr<engine::Sequence>> MakeSequence(
      const grpc::CallbackServerContext& context, const v1::DecodeRequest& request);

  const Parts parts_;
  std::atomic<bool> draining_{false};
  std::atomic<uint64_t> next_id_{1};
  std::shared_ptr<std::atomic<int32_t>> active_ = std::make_shared<std::atomic<int32_t>>(0);
};

}  // namespace baton::decode_node
