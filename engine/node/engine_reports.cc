#include "engine/node/engine_reports.h"

#include "kvcache/transfer/cache_events.h"
#include "kvcache/transfer/kv_layout_proto.h"
#include "kvcache/transfer/kv_source.h"
#include "server/tls.h"

namespace baton::engine {

v1::NodeLoad LoadOf(const EngineStats& stats, const Assembly& parts,
                    const server::FaultInjection& faults) {
  const kvcache::BlockPool::Stats blocks = parts.pool->stats();
  v1::NodeLoad load;
  load.set_sequences_running(stats.running);
  load.set_sequences_waiting(stats.waiting);
  load.set_step_seconds(stats.step_seconds);
  load.set_steps(stats.steps);
  load.set_blocks_total(blocks.total);
  load.set_blocks_free(blocks.free);
  load.set_blocks_leased(blocks.leased);
  load.set_blocks_used(blocks.used);
  load.set_blocks_cached(blocks.cached);
  load.set_tokens_generated(stats.tokens_drawn);
  load.set_prompt_tokens_cached(stats.tokens_cached);
  kvcache::FillTiers(parts.cache.get(), &load);
  for (const auto& [point, count] : faults.counts()) {
    (*load.mutable_faults_injected())[point] = count;
  }
  return load;
}

server::NodeShell::Description DescriptionOf(const Assembly& parts, uint64_t incarnation,
                                             bool movable) {
  const models::ModelConfig& model = parts.model->config();
  return {.incarnation = incarnation,
          .layout = kvcache::ToProto(parts.layout),
          .model_name = model.name,
          .context_length = model.context_length,
          .device = parts.device->description(),
          .blocks = parts.pool->stats().total,
          .movable = movable};
}

std::unique_ptr<grpc::Service> KvSourceOf(const Assembly& parts, kvcache::TierReader& tier_reader,
                                          uint64_t incarnation, std::atomic<int64_t>* bytes_given) {
  if (parts.cache == nullptr) return nullptr;
  return kvcache::MakeKvSourceService({*parts.cache, tier_reader, *parts.store, parts.layout,
                                       incarnation,
                                       [](const grpc::ServerContextBase& context) {
                                         return server::RequireRole(context, {"prefill"});
                                       },
                                       bytes_given});
}

}  // namespace baton::engine
