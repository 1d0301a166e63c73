#include "decode_node/decode_node.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "base/status_macros.h"
#include "decode_node/decode_policy.h"
#include "decode_node/decode_service.h"
#include "decode_node/kv_intake.h"
#include "engine/assembly.h"
#include "engine/engine.h"
#include "engine/grammar/grammar_constraint.h"
#include "engine/hooked_policy.h"
#include "engine/node/engine_reports.h"
#include "kvcache/transfer/cache_events.h"
#include "kvcache/transfer/grpc_transport.h"
#include "kvcache/transfer/kv_receiver.h"
#include "server/fault_injection.h"
#include "server/grpc_server.h"
#include "server/node_shell.h"
#include "server/process.h"
#include "server/registration.h"
#include "server/tls.h"

namespace baton::decode_node {
namespace {

constexpr std::chrono::milliseconds kExpiryPoll(50);

// Ends leases whose time is over.
class ExpiryTimer {
 public:
  explicit ExpiryTimer(KvIntake& intake)
      : thread_([this, &intake] {
          MutexLock lock(mutex_);
          while (!stop_) {
            wake_.wait_for(mutex_, kExpiryPoll);
            mutex_.Unlock();
            intake.Expire();
            mutex_.Lock();
          }
        }) {}
  ~ExpiryTimer() {
    {
      MutexLock lock(mutex_);
      stop_ = true;
      wake_.notify_all();
    }
    thread_.join();
  }

 private:
  Mutex mutex_;
  CondVar wake_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

v1::NodeLoad DecodeLoad(const engine::Engine& engine, const engine::Assembly& parts,
                        const kvcache::KvReceiver& receiver, int64_t bytes_given, bool draining,
                        const server::FaultInjection& faults) {
  const engine::EngineStats stats = engine.stats();
  const kvcache::KvReceiver::Stats received = receiver.stats();
  v1::NodeLoad load = engine::LoadOf(stats, parts, faults);
  load.set_tokens_drafted(stats.tokens_drafted);
  load.set_drafts_kept(stats.drafts_kept);
  load.set_kv_bytes_sent(bytes_given);
  load.set_kv_bytes_received(received.bytes);
  load.set_kv_frames_refused(received.frames_refused);
  load.set_draining(draining);
  return load;
}

absl::StatusOr<v1::NodeRole> Run(const v1::DecodeConfig& config, bool movable) {
  BATON_ASSIGN_OR_RETURN(const auto faults, server::FaultInjection::Parse(
                                                config.node().fault_injection(),
                                                config.node().listen(), server::kStepFaults));
  BATON_ASSIGN_OR_RETURN(engine::Assembly parts,
                         engine::Assemble(server::AssemblyOptionsFrom<engine::AssemblyOptions>(
                             config.node(), config.device(), std::max(config.max_batch(), 512))));
  const models::ModelConfig& model = parts.model->config();
  const Clock& clock = SystemClock::Get();
  DecodePolicy policy(config.max_batch(), config.prefill_chunk_tokens());
  engine::HookedPolicy hooked(policy, [&faults] { server::RunStepFaults(*faults); });
  engine::Engine engine(*parts.model, *parts.store, *parts.pool, hooked, clock,
                        {.queue_max = config.node().max_queue(),
                         .eos_ids = model.eos_ids,
                         .context_length = model.context_length,
                         .cache = parts.cache.get(),
                         .draft_tokens_max = config.draft_tokens()});
  SystemRng rng;
  const uint64_t incarnation = rng.Next();
  KvIntake intake(*parts.pool, model.layers, config.node().block_tokens(), clock,
                  absl::Milliseconds(config.lease_timeout_ms()));
  const auto receiver = kvcache::KvReceiver::Create(
      intake, *parts.store, parts.layout,
      {.incarnation = incarnation, .window_bytes = config.window_bytes()});
  const auto transfer =
      kvcache::MakeKvTransferService(*receiver, [](const grpc::ServerContextBase& context) {
        return server::RequireRole(context, {"prefill"});
      });
  kvcache::TierReader tier_reader(parts.cache.get());
  std::atomic<int64_t> bytes_given{0};
  const auto source = engine::KvSourceOf(parts, tier_reader, incarnation, &bytes_given);
  std::vector<grpc::Service*> services = {transfer.get()};
  if (source != nullptr) services.push_back(source.get());
  engine::GrammarConstraints grammars(config.node().model());
  DecodeService service({engine, intake, *parts.pool, parts.cache.get(), tier_reader, model,
                         parts.layout, clock, config.lease_timeout_ms(), &grammars,
                         config.speculation() == "ngram"});
  services.push_back(&service);
  ExpiryTimer timer(intake);
  engine.Start();
  BATON_ASSIGN_OR_RETURN(
      const auto shell,
      server::NodeShell::Start(
          config.node(), config.process(), v1::NODE_ROLE_DECODE,
          engine::DescriptionOf(parts, incarnation, movable), services,
          {.load =
               [&] {
                 return DecodeLoad(engine, parts, *receiver, bytes_given, service.draining(),
                                   *faults);
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

int RunDecodeNode(const v1::DecodeConfig& config) {
  const absl::Status status = Run(config, false).status();
  return status.ok() ? 0 : server::ExitCodeFor(status, "baton-decode");
}

absl::StatusOr<v1::NodeRole> RunDecodeNodeUntilMoved(const v1::DecodeConfig& config) {
  return Run(config, true);
}

}  // namespace baton::decode_node
