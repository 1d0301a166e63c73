// A prefill node and a decode node with the T0 model in one process, over real gRPC on loopback,
// and what a router does with them.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/rng.h"
#include "decode_node/decode_policy.h"
#include "decode_node/decode_service.h"
#include "engine/assembly.h"
#include "kvcache/transfer/grpc_transport.h"
#include "kvcache/transfer/kv_layout_proto.h"
#include "kvcache/transfer/kv_source.h"
#include "prefill_node/prefill_policy.h"
#include "prefill_node/prefill_service.h"
#include "server/grpc_server.h"
#include "tests/fakes/temp_folder.h"
#include "tests/fakes/tiny_gguf.h"

namespace baton::decode_node {

inline constexpr uint64_t kDecodeIncarnation = 0xdec0de;
inline constexpr int32_t kContext = 1024;

// Runs a hook before each step of another model.
class HookedModel final : public models::Model {
 public:
  explicit HookedModel(models::Model& model) : model_(model) {}
  const models::ModelConfig& config() const override { return model_.config(); }
  int32_t max_batch_tokens() const override { return model_.max_batch_tokens(); }
  absl::Status Forward(const models::ForwardBatch& batch,
                       device::ConstMatrixView* logits) override {
    std::function<void()> hook;
    {
      MutexLock lock(mutex_);
      hook = hook_;
    }
    if (hook) hook();
    return model_.Forward(batch, logits);
  }
  void SetHook(std::function<void()> hook) {
    MutexLock lock(mutex_);
    hook_ = std::move(hook);
  }

 private:
  models::Model& model_;
  Mutex mutex_;
  std::function<void()> hook_ ABSL_GUARDED_BY(mutex_);
};

// The T0 model on a device, with a pool of `blocks`.
inline engine::Assembly AssembleT0(const std::string& device, int32_t block_tokens,
                                   int32_t batch_tokens_max, int32_t blocks) {
  static const fakes::TempFolder folder;
  static const std::string file = folder.Write("t0.gguf", fakes::TinyGguf({}));
  engine::AssemblyOptions options;
  options.model = file;
  options.device.name = device;
  options.device.threads = 1;
  options.batch_tokens_max = batch_tokens_max;
  options.context_max = kContext;
  options.block_tokens = block_tokens;
  options.kv_bytes = int64_t{blocks} * 4 * 2 * 2 * 16 * 2 * block_tokens;
  absl::StatusOr<engine::Assembly> parts = engine::Assemble(options);
  EXPECT_TRUE(parts.ok()) << parts.status();
  return *std::move(parts);
}

inline engine::Engine::Options OptionsFor(const models::ModelConfig& config,
                                          kvcache::PrefixCache* cache = nullptr) {
  return {.queue_max = 64,
          .eos_ids = config.eos_ids,
          .context_length = config.context_length,
          .cache = cache};
}

struct PrefillSide {
  explicit PrefillSide(int32_t block_tokens = 32)
      : parts(AssembleT0("p_chip", block_tokens, 128, 3 * kContext / block_tokens)),
        model(*parts.model),
        transport(kvcache::MakeGrpcTransport(grpc::InsecureChannelCredentials())),
        sender(kvcache::KvSender::Create(*transport, *parts.store, parts.layout,
                                         {.node_id = "prefill", .incarnation = 7})),
        engine(model, *parts.store, *parts.pool, policy, SystemClock::Get(),
               OptionsFor(parts.model->config(), parts.cache.get())),
        fetcher({grpc::InsecureChannelCredentials(), *parts.store, *parts.pool, *parts.cache,
                 parts.layout, SystemClock::Get()}),
        tier_reader(parts.cache.get()),
        service({engine, *parts.store, *sender, parts.model->config(), SystemClock::Get(), nullptr,
                 parts.cache.get(), &tier_reader, &fetcher}),
        server(server::GrpcServer::Start("127.0.0.1:0", {}, {&service}).value()),
        stub(v1::Prefill::NewStub(
            grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials()))) {
    engine.Start();
  }
  ~PrefillSide() {
    engine.Stop();
    server->Shutdown(absl::Seconds(1));
  }

  engine::Assembly parts;
  HookedModel model;
  std::unique_ptr<kvcache::Transport> transport;
  std::unique_ptr<kvcache::KvSender> sender;
  prefill_node::PrefillPolicy policy{128};
  engine::Engine engine;
  kvcache::KvFetcher fetcher;
  kvcache::TierReader tier_reader;
  prefill_node::PrefillService service;
  std::unique_ptr<server::GrpcServer> server;
  std::unique_ptr<v1::Prefill::Stub> stub;
};

struct DecodeSide {
  explicit DecodeSide(int32_t block_tokens = 32)
      : parts(AssembleT0("d_chip", block_tokens, 128, 3 * kContext / block_tokens)),
        model(*parts.model),
        engine(model, *parts.store, *parts.pool, policy, SystemClock::Get(),
               OptionsFor(parts.model->config(), parts.cache.get())),
        intake(*parts.pool, parts.model->config().layers, block_tokens, clock, absl::Seconds(10)),
        receiver(kvcache::KvReceiver::Create(intake, *parts.store, parts.layout,
                                             {.incarnation = kDecodeIncarnation})),
        transfer(kvcache::MakeKvTransferService(*receiver,
                                                [this](const grpc::ServerContextBase&) {
                                                  if (before_transfer) before_transfer();
                                                  return absl::OkStatus();
                                                })),
        tier_reader(parts.cache.get()),
        service({engine, intake, *parts.pool, parts.cache.get(), tier_reader, parts.model->config(),
                 parts.layout, SystemClock::Get(), 10000}),
        source(kvcache::MakeKvSourceService(
            {*parts.cache, tier_reader, *parts.store, parts.layout, kDecodeIncarnation,
             [](const grpc::ServerContextBase&) { return absl::OkStatus(); }, &bytes_given})),
        server(
            server::GrpcServer::Start("127.0.0.1:0", {}, {&service, transfer.get(), source.get()})
                .value()),
        stub(v1::Decode::NewStub(
            grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials()))) {
    engine.Start();
  }
  ~DecodeSide() {
    engine.Stop();
    server->Shutdown(absl::Seconds(1));
  }

  engine::Assembly parts;
  HookedModel model;
  DecodePolicy policy{64};
  engine::Engine engine;
  ManualClock clock;  // of the leases
  KvIntake intake;
  std::unique_ptr<kvcache::KvReceiver> receiver;
  std::function<void()> before_transfer;  // set while nothing is transferred
  std::unique_ptr<grpc::Service> transfer;
  kvcache::TierReader tier_reader;
  DecodeService service;
  std::atomic<int64_t> bytes_given{0};
  std::unique_ptr<grpc::Service> source;
  std::unique_ptr<server::GrpcServer> server;
  std::unique_ptr<v1::Decode::Stub> stub;
};

struct Prompt {
  std::vector<int32_t> ids;
  v1::SamplingParams sampling;
  v1::StopParams stop;
  std::string cache_salt;
};

inline v1::DecodeRequest DecodeRequestOf(const Prompt& prompt) {
  v1::DecodeRequest request;
  *request.mutable_prompt() = {prompt.ids.begin(), prompt.ids.end()};
  *request.mutable_sampling() = prompt.sampling;
  *request.mutable_stop() = prompt.stop;
  request.set_cache_salt(prompt.cache_salt);
  return request;
}

inline Prompt PromptOf(int32_t tokens, int32_t max_tokens, uint64_t seed = 1) {
  Prompt prompt;
  for (int32_t i = 0; i < tokens; ++i) {
    prompt.ids.push_back(4 + static_cast<int32_t>(CounterRandom(seed, i) % 1000));
  }
  prompt.sampling.set_temperature(1);
  prompt.sampling.set_seed(seed);
  prompt.stop.set_max_tokens(max_tokens);
  prompt.stop.set_ignore_eos(true);
  return prompt;
}

inline v1::Ticket NewTicket() {
  SystemRng rng;
  const uint64_t words[2] = {rng.Next(), rng.Next()};
  v1::Ticket ticket;
  ticket.set_id(std::string(reinterpret_cast<const char*>(words), 16));
  ticket.set_epoch(1);
  return ticket;
}

// One streaming call from the client's side, with a deadline that only a failure reaches.
template <typename Event>
class Call {
 public:
  template <typename Stub, typename Method, typename Request>
  Call(Stub& stub, Method method, const Request& request) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    reader_ = (stub.*method)(&context_, request);
  }
  ~Call() {
    if (reader_ == nullptr) return;
    context_.TryCancel();
    End();
  }
  bool Read(Event* event) { return reader_->Read(event); }
  void Cancel() { context_.TryCancel(); }
  // Reads what is left.
  grpc::Status End() {
    Event event;
    while (reader_->Read(&event)) {
    }
    const grpc::Status status = reader_->Finish();
    reader_.reset();
    return status;
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<Event>> reader_;
};
using PrefillStream = Call<v1::PrefillEvent>;
using DecodeStream = Call<v1::DecodeEvent>;

// Everything between a request and its tokens that a router does.
struct TwoNodes {
  explicit TwoNodes(int32_t prefill_block_tokens = 32, int32_t decode_block_tokens = 32)
      : prefill(prefill_block_tokens), decode(decode_block_tokens) {}

  std::unique_ptr<DecodeStream> Generate(const v1::DecodeRequest& request) {
    return std::make_unique<DecodeStream>(*decode.stub, &v1::Decode::Stub::Generate, request);
  }
  std::unique_ptr<DecodeStream> Generate(const Prompt& prompt, const v1::Ticket& ticket) {
    v1::DecodeRequest request = DecodeRequestOf(prompt);
    *request.mutable_ticket() = ticket;
    *request.mutable_layout() = kvcache::ToProto(prefill.parts.layout);
    if (layout.has_value()) *request.mutable_layout() = *layout;
    return Generate(request);
  }
  v1::PrefillRequest RunRequest(const Prompt& prompt, const v1::Ticket& ticket) const {
    v1::PrefillRequest request;
    *request.mutable_prompt() = {prompt.ids.begin(), prompt.ids.end()};
    *request.mutable_sampling() = prompt.sampling;
    *request.mutable_stop() = prompt.stop;
    request.set_cache_salt(prompt.cache_salt);
    request.mutable_hand_over()->set_decode_address(decode.server->address());
    request.mutable_hand_over()->set_decode_incarnation(kDecodeIncarnation);
    *request.mutable_hand_over()->mutable_ticket() = ticket;
    return request;
  }
  std::unique_ptr<PrefillStream> Run(const v1::PrefillRequest& request) {
    return std::make_unique<PrefillStream>(*prefill.stub, &v1::Prefill::Stub::Run, request);
  }
  std::unique_ptr<PrefillStream> Run(const Prompt& prompt, const v1::Ticket& ticket) {
    return Run(RunRequest(prompt, ticket));
  }
  // Generate up to its lease; sets `first_missing` to what the lease says.
  std::unique_ptr<DecodeStream> Lease(const Prompt& prompt, const v1::Ticket& ticket) {
    auto stream = Generate(prompt, ticket);
    v1::DecodeEvent event;
    EXPECT_TRUE(stream->Read(&event) && event.has_leased());
    first_missing = event.leased().first_missing_block();
    return stream;
  }
  // The tokens after the first, up to the end.
  static std::vector<int32_t> Rest(DecodeStream& stream) {
    std::vector<int32_t> ids;
    v1::DecodeEvent event;
    while (stream.Read(&event)) {
      for (const v1::Token& token : event.tokens().tokens()) {
        EXPECT_EQ(token.index(), static_cast<int32_t>(ids.size()) + 1);
        ids.push_back(token.id());
      }
      if (event.has_finished()) {
        EXPECT_EQ(event.finished().output_tokens(), static_cast<int32_t>(ids.size()) + 1);
      }
    }
    const grpc::Status status = stream.End();
    EXPECT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
    return ids;
  }
  // The first token of a prefill that hands over; -1 where it fails.
  static int32_t FirstToken(PrefillStream& stream) {
    v1::PrefillEvent event;
    return stream.Read(&event) && event.has_first_token() ? event.first_token().token().id() : -1;
  }
  std::vector<int32_t> Answer(const Prompt& prompt) {
    const v1::Ticket ticket = NewTicket();
    std::unique_ptr<DecodeStream> tokens;
    v1::PrefillRequest request = RunRequest(prompt, ticket);
    if (prompt.stop.max_tokens() > 1) {
      tokens = Lease(prompt, ticket);
      request.mutable_hand_over()->set_first_missing_block(first_missing);
      if (peer_blocks > 0) *request.mutable_peer_prefix() = PeerPrefix();
    } else {
      request.clear_hand_over();
    }
    auto run = Run(request);
    v1::PrefillEvent event;
    std::vector<int32_t> ids;
    while (run->Read(&event)) {
      if (event.has_first_token()) {
        first = event.first_token();
        ids.push_back(first.token().id());
      }
      if (event.has_handed()) handed = event.handed();
    }
    const grpc::Status status = run->End();
    EXPECT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
    if (tokens == nullptr) return ids;
    for (const int32_t id : Rest(*tokens)) ids.push_back(id);
    return ids;
  }

  bool AllFree() const {
    for (const kvcache::BlockPool* pool : {prefill.parts.pool.get(), decode.parts.pool.get()}) {
      if (pool->stats().available() != pool->stats().total) return false;
    }
    return prefill.service.active() == 0 && decode.service.active() == 0;
  }

  PrefillSide prefill;
  DecodeSide decode;
  std::optional<v1::KvLayout> layout;  // said of the prefill node; nothing: its own
  // What a router says of the decode node to the prefill node.
  v1::PeerPrefix PeerPrefix() const {
    v1::PeerPrefix peer;
    peer.set_address(decode.server->address());
    peer.set_incarnation(kDecodeIncarnation);
    peer.set_blocks(peer_blocks);
    return peer;
  }
  int32_t peer_blocks = 0;      // said to be on the decode node; 0: nothing is said
  int32_t first_missing = 0;    // of the latest lease
  v1::PrefillFirstToken first;  // of the latest Answer
  v1::PrefillHanded handed;     // of the latest Answer with a hand-over
};

}  // namespace baton::decode_node
