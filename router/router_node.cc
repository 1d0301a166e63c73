#include "router/router_node.h"

#include <grpcpp/create_channel.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "models/gguf/fingerprint.h"
#include "models/gguf/gguf_file.h"
#include "models/text/folder_texts.h"
#include "router/candidates.h"
#include "server/tls.h"

namespace baton::router {
namespace {

// For the last words to clients whose requests are broken off.
constexpr absl::Duration kBreakOffTime = absl::Milliseconds(500);
constexpr absl::Duration kStopTimeout = absl::Seconds(2);
// Nodes get free without telling the line: their reports come on other threads.
constexpr std::chrono::milliseconds kPokeInterval{20};

server::TlsOptions TlsOf(const v1::RouterConfig& config) {
  return {config.process().certs(), config.process().insecure()};
}

Admission::Limits LimitsOf(const v1::RouterConfig& config) {
  const v1::AdmissionConfig& admission = config.admission();
  return {.running_max = config.max_running(),
          .waiting_max = admission.max_waiting(),
          .priority_step = absl::Milliseconds(admission.priority_step_ms()),
          .ageing = admission.ageing_percent() / 100.0,
          .window = absl::Milliseconds(admission.dispatch_window_ms())};
}

}  // namespace

RouterNode::RouterNode(const v1::RouterConfig& config)
    : config_(config),
      caches_(static_cast<size_t>(config.scheduler().cache_index_entries())),
      admission_(LimitsOf(config), SystemClock::Get(),
                 [this](const AdmissionAsk& ask) {
                   const Clock& clock = SystemClock::Get();
                   return LookAt(*cluster_->snapshot(), context_->policy, ask,
                                 LimitsOf(config_).window, clock.Now());
                 }),
      balancer_({.hold = absl::Milliseconds(config.roles().role_hold_ms()),
                 .dwell = absl::Milliseconds(config.roles().role_dwell_ms()),
                 .room = config.roles().role_room_percent() / 100.0}) {}

absl::StatusOr<std::unique_ptr<RouterNode>> RouterNode::Start(const v1::RouterConfig& config,
                                                              const HttpLimits& limits) {
  std::unique_ptr<RouterNode> node(new RouterNode(config));
  BATON_RETURN_IF_ERROR(node->LoadModel());
  BATON_RETURN_IF_ERROR(node->Listen(limits));
  return node;
}

RouterNode::~RouterNode() { Stop(); }

absl::Status RouterNode::LoadModel() {
  if (config_.model().empty()) {
    return absl::InvalidArgumentError(
        "model: the path of a GGUF file or of a Hugging Face folder is required");
  }
  BATON_ASSIGN_OR_RETURN(tokenizer_, models::text::Tokenizer::Open(config_.model()));
  grammars_ = std::make_unique<GrammarCheck>(*tokenizer_);
  BATON_ASSIGN_OR_RETURN(turn_format_,
                         DetectTurnFormat(tokenizer_->chat_template(), config_.tool_parser(),
                                          config_.reasoning_parser()));
  FindMarks(*tokenizer_, &turn_format_);
  if (std::filesystem::is_directory(config_.model())) {
    // Its weights are the nodes' to read; that all nodes have the same ones is still checked.
    BATON_ASSIGN_OR_RETURN(model_context_length_, models::text::ReadContextLength(config_.model()));
    return absl::OkStatus();
  }
  BATON_ASSIGN_OR_RETURN(const auto file, models::GgufFile::Open(config_.model()));
  BATON_ASSIGN_OR_RETURN(model_context_length_, models::text::ReadContextLength(*file));
  model_fingerprint_ = models::Fingerprint(*file);
  return absl::OkStatus();
}

void RouterNode::MakeCluster() {
  cluster_ = std::make_unique<ClusterView>(
      absl::Milliseconds(config_.node_timeout_ms()), SystemClock::Get(), caches_,
      [this](const v1::NodeHello& hello) -> absl::StatusOr<std::shared_ptr<NodeClient>> {
        BATON_ASSIGN_OR_RETURN(const auto credentials,
                               server::ChannelCredentials(TlsOf(config_), hello.address()));
        grpc::ChannelArguments arguments = server::InternalChannelArguments();
        // A restarted node must not inherit the back-off of the connection to its predecessor.
        arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
        return std::make_shared<NodeClient>(
            grpc::CreateCustomChannel(hello.address(), credentials, arguments), &open_calls_);
      },
      model_fingerprint_);
}

absl::Status RouterNode::Listen(const HttpLimits& limits) {
  if (!config_.otlp_endpoint().empty()) {
    BATON_ASSIGN_OR_RETURN(
        spans_, SpanExporter::Start(config_.otlp_endpoint(),
                                    {metrics_.traces_exported, metrics_.traces_dropped}));
    requests_.SetOnEnded(
        [this](std::shared_ptr<const RequestRecord> record) { spans_->Export(std::move(record)); });
  }
  MakeCluster();
  loops_ = std::make_unique<EventLoops>(config_.http_threads());
  leases_ = std::make_shared<LeaseRenewer>(loops_->first(),
                                           absl::Milliseconds(config_.renew_interval_ms()));
  leases_->Start();
  const std::filesystem::path path(config_.model());
  context_.reset(new RouterContext{.config = config_,
                                   .tokenizer = *tokenizer_,
                                   .model_id = config_.served_model_name().empty()
                                                   ? models::text::DefaultModelId(config_.model())
                                                   : config_.served_model_name(),
                                   .model_root = path.filename().string(),
                                   .model_context_length = model_context_length_,
                                   .created_s = absl::ToUnixSeconds(absl::Now()),
                                   .loops = *loops_,
                                   .cluster = *cluster_,
                                   .caches = caches_,
                                   .policy = PolicyFrom(config_.scheduler()),
                                   .admission = admission_,
                                   .leases = *leases_,
                                   .metrics = metrics_,
                                   .rng = rng_,
                                   .clock = SystemClock::Get(),
                                   .grammars = *grammars_,
                                   .turn_format = turn_format_,
                                   .requests = requests_});
  api_ = std::make_unique<HttpApi>(*context_);
  inference_ = std::make_unique<InferenceService>(*context_);
  registry_ = std::make_unique<RegistryService>(*cluster_);
  sweep_ = std::make_unique<boost::asio::steady_timer>(loops_->first());
  poke_ = std::make_unique<boost::asio::steady_timer>(loops_->first());
  const server::TlsOptions tls = TlsOf(config_);
  BATON_ASSIGN_OR_RETURN(
      cluster_grpc_, server::GrpcServer::Start(config_.cluster_listen(), tls, {registry_.get()}));
  // Like the HTTP API, its gRPC twin is plain for clients on this machine; beyond it, it needs TLS.
  server::TlsOptions public_tls = tls;
  if (server::IsLoopback(config_.grpc_listen())) public_tls.certs_folder.clear();
  BATON_ASSIGN_OR_RETURN(public_grpc_, server::GrpcServer::Start(config_.grpc_listen(), public_tls,
                                                                 {inference_.get()}));
  HttpLimits http_limits = limits;
  http_limits.body_bytes = static_cast<uint64_t>(config_.max_body_bytes());
  BATON_ASSIGN_OR_RETURN(
      http_, HttpListener::Start(*context_, *api_, http_limits, config_.host(), config_.port()));
  cluster_grpc_->SetServing(true);
  public_grpc_->SetServing(false);  // until there are nodes
  boost::asio::post(loops_->first(), [this] {
    Sweep();
    SchedulePoke();
  });
  return absl::OkStatus();
}

void RouterNode::Sweep() {
  cluster_->ExpireSilent();
  BalanceRoles();
  const bool ready = !admission_.draining() &&
                     cluster_->snapshot()->Missing(context_->NeedsPrefillNodes()).empty();
  if (ready != public_serving_) public_grpc_->SetServing(ready);
  public_serving_ = ready;
  const int interval_ms = std::clamp(config_.node_timeout_ms() / 5, 20, 250);
  sweep_->expires_after(std::chrono::milliseconds(interval_ms));
  sweep_->async_wait([this](const boost::system::error_code& error) {
    if (!error) Sweep();
  });
}

void RouterNode::BalanceRoles() {
  const std::shared_ptr<const ClusterSnapshot> cluster = cluster_->snapshot();
  std::vector<const Node*> nodes;
  std::vector<RoleNode> facts;
  bool movable = false;
  for (const auto* list : {&cluster->prefill, &cluster->decode}) {
    for (const std::shared_ptr<const Node>& node : *list) {
      const v1::NodeLoad& load = node->load;
      nodes.push_back(node.get());
      facts.push_back({.prefill = list == &cluster->prefill,
                       .movable = node->hello.movable(),
                       .draining = load.draining(),
                       .sequences = load.sequences_running() + load.sequences_waiting(),
                       .waiting = load.sequences_waiting(),
                       .blocks_used = load.blocks_used() + load.blocks_leased(),
                       .blocks_total = load.blocks_total()});
      movable |= node->hello.movable();
    }
  }
  if (!movable) return;
  const Outlook::Room waits_for = admission_.WaitsFor();
  const std::optional<RoleMove> move =
      balancer_.Decide(facts,
                       {.prefill_needed = context_->NeedsPrefillNodes(),
                        .waiting = admission_.waiting(),
                        .for_prefill = waits_for == Outlook::Room::kNotForPrompt,
                        .for_decode = waits_for == Outlook::Room::kNotForDecode},
                       SystemClock::Get().Now());
  if (!move) return;
  const Node& node = *nodes[move->node];
  spdlog::info("node {} is to become a {} node: {}", node.hello.node_id(),
               move->to_prefill ? "prefill" : "decode", move->why);
  metrics_.role_moves[static_cast<size_t>(move->reason)].Add();
  cluster_->AskForRole(node.registration,
                       move->to_prefill ? v1::NODE_ROLE_PREFILL : v1::NODE_ROLE_DECODE);
}

void RouterNode::SchedulePoke() {
  admission_.Poke();
  poke_->expires_after(kPokeInterval);
  poke_->async_wait([this](const boost::system::error_code& error) {
    if (!error) SchedulePoke();
  });
}

void RouterNode::StartDraining() {
  admission_.StartDraining();
  public_grpc_->SetServing(false);
}

void RouterNode::BreakOffRequests() {
  if (idle()) return;
  cluster_->LoseAll();
  const absl::Time latest = absl::Now() + kBreakOffTime;
  while (!idle() && absl::Now() < latest) absl::SleepFor(absl::Milliseconds(5));
}

bool RouterNode::Stop() {
  if (std::exchange(stopped_, true)) return ended_in_time_;
  admission_.StartDraining();
  if (http_) BreakOffRequests();
  if (http_) ended_in_time_ = http_->Stop(kStopTimeout);
  if (public_grpc_) public_grpc_->Shutdown(absl::ZeroDuration());
  if (cluster_grpc_) cluster_grpc_->Shutdown(absl::ZeroDuration());
  if (leases_) leases_->Stop();
  // The calls to nodes post to the loops until they have ended.
  if (cluster_) cluster_->LoseAll();
  ended_in_time_ = open_calls_.WaitUntilNone(kStopTimeout) && ended_in_time_;
  if (!ended_in_time_) spdlog::warn("some connections or calls did not end in time");
  if (sweep_) {
    boost::asio::post(loops_->first(), [this] {
      sweep_->cancel();
      poke_->cancel();
    });
  }
  if (loops_) loops_->Stop();
  return ended_in_time_;
}

}  // namespace baton::router
