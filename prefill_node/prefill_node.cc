#include "prefill_node/prefill_node.h"

#include <spdlog/spdlog.h>

#include <memory>

#include "base/rng.h"
#include "base/status_macros.h"
#include "engine/assembly.h"
#include "engine/engine.h"
#include "engine/grammar/grammar_constraint.h"
#include "kvcache/transfer/cache_events.h"
#include "kvcache/transfer/grpc_transport.h"
#include "kvcache/transfer/kv_layout_proto.h"
#include "kvcache/transfer/kv_sender.h"
#include "prefill_node/prefill_policy.h"
#include "prefill_node/prefill_service.h"
#include "server/node_shell.h"
#include "server/process.h"
#include "server/tls.h"

namespace baton::prefill_node {
namespace {

v1::NodeLoad LoadOf(const engine::Engine& engine, const engine::Assembly& parts,
                    const PrefillService& service) {
  const engine::EngineStats stats = engine.stats();
  const kvcache::BlockPool::Stats blocks = parts.pool->stats();
  v1::NodeLoad load;
  load.set_sequences_running(stats.running);
  load.set_sequences_waiting(stats.waiting);
  load.set_prompt_tokens_queued(stats.tokens_queued);
  load.set_prefill_tokens_per_s(stats.tokens_per_s);
  load.set_step_seconds(stats.step_seconds);
  load.set_blocks_total(blocks.total);
  load.set_blocks_free(blocks.free);
  load.set_blocks_leased(blocks.leased);
  load.set_blocks_used(blocks.used);
  load.set_blocks_cached(blocks.cached);
  load.set_draining(service.draining());
  load.set_tokens_generated(stats.tokens_drawn);
  load.set_prompt_tokens_computed(stats.tokens_computed);
  load.set_prompt_tokens_cached(stats.tokens_cached);
  load.set_kv_bytes_sent(service.kv_bytes_sent());
  return load;
}

absl::Status Run(const v1::PrefillConfig& config) {
  BATON_ASSIGN_OR_RETURN(engine::Assembly parts,
                         engine::Assemble(server::AssemblyOptionsFrom<engine::AssemblyOptions>(
                             config.node(), config.device(), config.step_tokens())));
  const models::ModelConfig& model = parts.model->config();
  const Clock& clock = SystemClock::Get();
  SystemRng rng;
  const uint64_t incarnation = rng.Next();
  BATON_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                         server::ChannelCredentials({.certs_folder = config.process().certs(),
                                                     .insecure = config.process().insecure()},
                                                    config.node().router()));
  const auto transport = kvcache::MakeGrpcTransport(credentials);
  const auto sender = kvcache::KvSender::Create(
      *transport, *parts.store, parts.layout,
      {.node_id = config.node().node_id(),
       .incarnation = incarnation,
       .pair_timeout = absl::Milliseconds(config.node().rpc_timeout_ms()),
       .progress_timeout = absl::Milliseconds(config.transfer_timeout_ms())});
  PrefillPolicy policy(config.step_tokens());
  engine::Engine engine(*parts.model, *parts.store, *parts.pool, policy, clock,
                        {.queue_max = config.node().max_queue(),
                         .eos_ids = model.eos_ids,
                         .context_length = model.context_length,
                         .cache = parts.cache.get()});
  engine::GrammarConstraints grammars(config.node().model());
  PrefillService service({engine, *parts.store, *sender, model, clock, &grammars});
  engine.Start();
  BATON_ASSIGN_OR_RETURN(const auto shell,
                         server::NodeShell::Start(
                             config.node(), config.process(), v1::NODE_ROLE_PREFILL,
                             {.incarnation = incarnation,
                              .layout = kvcache::ToProto(parts.layout),
                              .model_name = model.name,
                              .context_length = model.context_length,
                              .device = parts.device->description(),
                              .blocks = parts.pool->stats().total},
                             {&service}, [&] { return LoadOf(engine, parts, service); },
                             server::FeedOf(parts.cache.get(), kvcache::TakeCacheEvents)));
  server::WaitForSignal();
  spdlog::info("draining {} sequences", service.active());
  service.StartDraining();
  shell->StartDraining();
  server::WaitUntilIdle(absl::Milliseconds(config.process().drain_timeout_ms()),
                        [&service] { return service.active() == 0; });
  shell->Stop([&engine] { engine.Stop(); });
  return absl::OkStatus();
}

}  // namespace

int RunPrefillNode(const v1::PrefillConfig& config) {
  const absl::Status status = Run(config);
  return status.ok() ? 0 : server::ExitCodeFor(status, "baton-prefill");
}

}  // namespace baton::prefill_node
