#include "prefill_node/prefill_node.h"

#include <spdlog/spdlog.h>

#include <memory>

#include "base/rng.h"
#include "base/status_macros.h"
#include "engine/assembly.h"
#include "engine/engine.h"
#include "engine/grammar/grammar_constraint.h"
#include "engine/hooked_policy.h"
#include "engine/node/engine_reports.h"
#include "kvcache/transfer/cache_events.h"
#include "kvcache/transfer/faulty_transport.h"
#include "kvcache/transfer/grpc_transport.h"
#include "kvcache/transfer/kv_fetcher.h"
#include "kvcache/transfer/kv_sender.h"
#include "prefill_node/prefill_policy.h"
#include "prefill_node/prefill_service.h"
#include "server/fault_injection.h"
#include "server/node_shell.h"
#include "server/process.h"
#include "server/tls.h"

namespace baton::prefill_node {
namespace {

v1::NodeLoad PrefillLoad(const engine::Engine& engine, const engine::Assembly& parts,
                         const PrefillService& service, const kvcache::KvFetcher* fetcher,
                         int64_t bytes_given, const server::FaultInjection& faults) {
  const engine::EngineStats stats = engine.stats();
  v1::NodeLoad load = engine::LoadOf(stats, parts, faults);
  load.set_prompt_tokens_queued(stats.tokens_queued);
  load.set_prefill_tokens_per_s(stats.tokens_per_s);
  load.set_prompt_tokens_computed(stats.tokens_computed);
  load.set_prompt_tokens_fetched(service.tokens_fetched());
  load.set_kv_bytes_fetched(fetcher == nullptr ? 0 : fetcher->bytes());
  load.set_kv_bytes_sent(service.kv_bytes_sent() + bytes_given);
  load.set_draining(service.draining());
  return load;
}

constexpr absl::string_view kFaults[] = {"kv_corrupt",
                                         "kv_corrupt_manifest",
                                         "kv_drop",
                                         "kv_duplicate",
                                         "kv_delay",
                                         "kv_break",
                                         server::kStepFaults[0],
                                         server::kStepFaults[1],
                                         server::kStepFaults[2]};

kvcache::FrameFault DrawFrameFault(server::FaultInjection& faults, bool has_payload) {
  kvcache::FrameFault fault;
  fault.corrupt_payload = has_payload && faults.Fires("kv_corrupt").has_value();
  fault.corrupt_manifest = faults.Fires("kv_corrupt_manifest").has_value();
  fault.drop = faults.Fires("kv_drop").has_value();
  fault.duplicate = has_payload && faults.Fires("kv_duplicate").has_value();
  fault.break_stream = faults.Fires("kv_break").has_value();
  fault.delay = faults.Fires("kv_delay").value_or(absl::ZeroDuration());
  return fault;
}

absl::StatusOr<v1::NodeRole> Run(const v1::PrefillConfig& config, bool movable) {
  BATON_ASSIGN_OR_RETURN(const auto faults,
                         server::FaultInjection::Parse(config.node().fault_injection(),
                                                       config.node().listen(), kFaults));
  BATON_ASSIGN_OR_RETURN(engine::Assembly parts,
                         engine::Assemble(server::AssemblyOptionsFrom<engine::AssemblyOptions>(
                             config.node(), config.device(), config.step_tokens())));
  const models::ModelConfig& model = parts.model->config();
  const Clock& clock = SystemClock::Get();
  SystemRng rng;
  const uint64_t incarnation = rng.Next();
  BATON_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                         server::ClusterCredentials(config.node(), config.process()));
  const auto transport = kvcache::MakeGrpcTransport(credentials);
  const auto faulty = kvcache::MakeFaultyTransport(
      *transport, [&faults](bool has_payload) { return DrawFrameFault(*faults, has_payload); });
  const auto sender = kvcache::KvSender::Create(
      faults->enabled() ? *faulty : *transport, *parts.store, parts.layout,
      {.node_id = config.node().node_id(),
       .incarnation = incarnation,
       .pair_timeout = absl::Milliseconds(config.node().rpc_timeout_ms()),
       .progress_timeout = absl::Milliseconds(config.transfer_timeout_ms())});
  PrefillPolicy policy(config.step_tokens());
  engine::HookedPolicy hooked(policy, [&faults] { server::RunStepFaults(*faults); });
  engine::Engine engine(*parts.model, *parts.store, *parts.pool, hooked, clock,
                        {.queue_max = config.node().max_queue(),
                         .eos_ids = model.eos_ids,
                         .context_length = model.context_length,
                         .cache = parts.cache.get()});
  engine::GrammarConstraints grammars(config.node().model());
  std::unique_ptr<kvcache::KvFetcher> fetcher;
  if (parts.cache != nullptr) {
    fetcher = std::make_unique<kvcache::KvFetcher>(kvcache::KvFetcher::Parts{
        credentials, *parts.store, *parts.pool, *parts.cache, parts.layout, clock});
  }
  kvcache::TierReader tier_reader(parts.cache.get());  // ends first: what it does may fetch
  std::atomic<int64_t> bytes_given{0};
  const auto source = engine::KvSourceOf(parts, tier_reader, incarnation, &bytes_given);
  PrefillService service({engine, *parts.store, *sender, model, clock, &grammars, parts.cache.get(),
                          &tier_reader, fetcher.get()});
  std::vector<grpc::Service*> services = {&service};
  if (source != nullptr) services.push_back(source.get());
  engine.Start();
  BATON_ASSIGN_OR_RETURN(
      const auto shell,
      server::NodeShell::Start(
          config.node(), config.process(), v1::NODE_ROLE_PREFILL,
          engine::DescriptionOf(parts, incarnation, movable), services,
          {.load =
               [&] {
                 return PrefillLoad(engine, parts, service, fetcher.get(), bytes_given, *faults);
               },
           .stalled_for = [&] { return engine.stalled_for(); },
           .cache = server::FeedOf(parts.cache.get(), kvcache::TakeCacheEvents)}));
  server::WaitForSignal();
  spdlog::info("draining {} sequences", service.active());
  service.StartDraining();
  shell->StartDraining();
  server::WaitUntilIdle(absl::Milliseconds(config.process().drain_timeout_ms()),
                        [&service] { return service.active() == 0; });
  shell->Stop([&engine] { engine.Stop(); });
  return shell->next_role();
}

}  // namespace

int RunPrefillNode(const v1::PrefillConfig& config) {
  const absl::Status status = Run(config, false).status();
  return status.ok() ? 0 : server::ExitCodeFor(status, "baton-prefill");
}

absl::StatusOr<v1::NodeRole> RunPrefillNodeUntilMoved(const v1::PrefillConfig& config) {
  return Run(config, true);
}

}  // namespace baton::prefill_node
