// Two processes over loopback: hand-overs by KvSender and KvReceiver over gRPC, and the same blocks
// over plain TCP, turn by turn. Prints the medians and their ratio.
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <future>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "bench/kv_transfer/tcp_copy.h"
#include "device/device_factory.h"
#include "kvcache/transfer/grpc_transport.h"
#include "kvcache/transfer/kv_sender.h"

namespace baton::bench {
namespace {

constexpr uint64_t kIncarnation = 1;

struct Settings {
  // SmolLM2-135M and a prompt of 2,000 tokens.
  kvcache::KvLayout layout{.version = kvcache::kKvLayoutVersion,
                           .geometry = {.layers = 30,
                                        .kv_heads = 3,
                                        .head_dim = 64,
                                        .block_tokens = 32,
                                        .dtype = device::DType::kF16},
                           .model_fingerprint = 1};
  int32_t tokens = 2000;
  int rounds = 15;
  int64_t window_bytes = 16 << 20;
  int32_t blocks() const {
    return (tokens + layout.geometry.block_tokens - 1) / layout.geometry.block_tokens;
  }
};

struct Ports {
  uint16_t tcp = 0;
  int grpc = 0;
};

// Takes every frame to the blocks of the same numbers.
class OpenSink final : public kvcache::KvSink {
 public:
  explicit OpenSink(int32_t blocks) : ids_(blocks) { std::iota(ids_.begin(), ids_.end(), 0); }
  absl::StatusOr<std::unique_ptr<WriteGrant>> BeginWrite(const v1::KvManifest& m) override {
    return std::make_unique<Grant>(absl::MakeSpan(ids_).subspan(m.block_begin(), m.block_count()));
  }
  void EndWrite(const v1::KvManifest&) override {}
  absl::Status Commit(const v1::KvCommit&) override { return absl::OkStatus(); }

 private:
  class Grant final : public WriteGrant {
   public:
    explicit Grant(absl::Span<const int32_t> ids) : ids_(ids) {}
    absl::Span<const int32_t> block_ids() const override { return ids_; }
    kvcache::TokenRange tokens() const override { return {}; }  // block sizes are equal

   private:
    const absl::Span<const int32_t> ids_;
  };
  std::vector<int32_t> ids_;
};

std::unique_ptr<kvcache::KvStore> MakeStore(device::Device& device, const Settings& settings) {
  auto store = kvcache::KvStore::Create(device, settings.layout.geometry, settings.blocks());
  if (!store.ok()) {
    std::fprintf(stderr, "%s\n", store.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(store);
}

// The child: serves both until `control` is closed by the parent.
void RunReceiver(const Settings& settings, device::Device& device, int control) {
  const auto store = MakeStore(device, settings);
  OpenSink sink(settings.blocks());
  const auto receiver = kvcache::KvReceiver::Create(
      sink, *store, settings.layout,
      {.incarnation = kIncarnation, .window_bytes = settings.window_bytes});
  const auto service = kvcache::MakeKvTransferService(
      *receiver, [](const grpc::ServerContextBase&) { return absl::OkStatus(); });
  Ports ports;
  const int listener = ListenOnLoopback(&ports.tcp);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &ports.grpc);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 500);
  builder.RegisterService(service.get());
  const auto server = builder.BuildAndStart();
  if (listener < 0 || server == nullptr || write(control, &ports, sizeof(ports)) != sizeof(ports)) {
    std::fprintf(stderr, "cannot listen on loopback\n");
    return;
  }
  std::thread tcp([listener, &store] {
    const int connection = accept(listener, nullptr, nullptr);
    if (connection >= 0) ReceiveBlocksOverTcp(connection, *store);
    close(connection);
  });
  char byte = 0;
  while (read(control, &byte, 1) > 0) continue;
  server->Shutdown(std::chrono::system_clock::now());
  tcp.join();
  close(listener);
}

absl::Status HandOver(kvcache::KvSender& sender, const Settings& settings,
                      const std::string& address) {
  std::promise<absl::Status> done;
  kvcache::KvPushTarget target{
      .address = address, .decode_incarnation = kIncarnation, .ticket = {}};
  target.ticket.set_id(std::string(16, 't'));
  std::vector<int32_t> ids(settings.blocks());
  std::iota(ids.begin(), ids.end(), 0);
  auto push =
      sender.Start(target, [&done](absl::Status status) { done.set_value(std::move(status)); });
  for (int32_t layer = 0; layer < settings.layout.geometry.layers; ++layer) {
    push->SendBlocks(layer, 0, ids);
  }
  push->Commit(settings.tokens, v1::Token());
  return done.get_future().get();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

template <typename Action>
double Seconds(const Action& action) {
  const auto begin = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int RunSender(const Settings& settings, device::Device& device, int control) {
  Ports ports;
  if (read(control, &ports, sizeof(ports)) != sizeof(ports)) return 1;
  const auto store = MakeStore(device, settings);
  for (int32_t layer = 0; layer < settings.layout.geometry.layers; ++layer) {
    for (int32_t block = 0; block < settings.blocks(); ++block) {
      std::memset(store->BlockLayer(layer, block), layer + block,
                  settings.layout.geometry.BlockLayerBytes());
    }
  }
  const auto transport = kvcache::MakeGrpcTransport(grpc::InsecureChannelCredentials());
  const auto sender = kvcache::KvSender::Create(*transport, *store, settings.layout,
                                                {.node_id = "bench", .incarnation = 2});
  const int connection = ConnectToLoopback(ports.tcp);
  std::vector<double> grpc_seconds, tcp_seconds;
  bool good = connection >= 0;
  for (int round = -2; round < settings.rounds && good; ++round) {  // two rounds warm up
    absl::Status status;
    const double by_grpc = Seconds(
        [&] { status = HandOver(*sender, settings, "127.0.0.1:" + std::to_string(ports.grpc)); });
    const double by_tcp =
        Seconds([&] { good = SendBlocksOverTcp(connection, *store, settings.blocks()); });
    if (!status.ok()) {
      std::fprintf(stderr, "hand-over: %s\n", status.ToString().c_str());
      good = false;
    }
    if (round < 0) continue;
    grpc_seconds.push_back(by_grpc);
    tcp_seconds.push_back(by_tcp);
  }
  close(connection);
  if (!good) return 1;
  const double megabytes =
      1e-6 * static_cast<double>(settings.layout.geometry.BlockBytesTotal() * settings.blocks());
  const double by_grpc = Median(grpc_seconds), by_tcp = Median(tcp_seconds);
  std::printf("%d tokens, %.1f MB, %d rounds, turn by turn, medians\n", settings.tokens, megabytes,
              settings.rounds);
  std::printf("  hand-over over gRPC %8.2f ms %8.0f MB/s\n", by_grpc * 1e3, megabytes / by_grpc);
  std::printf("  plain TCP copy      %8.2f ms %8.0f MB/s\n", by_tcp * 1e3, megabytes / by_tcp);
  std::printf("  hand-over / TCP     %8.0f %%\n", 100 * by_tcp / by_grpc);
  return 0;
}

int Main(int argc, char** argv) {
  Settings settings;
  CLI::App app("KV hand-over over loopback next to a plain TCP copy");
  app.add_option("--tokens", settings.tokens, "prompt tokens of a hand-over")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--layers", settings.layout.geometry.layers)->check(CLI::Range(1, 1024));
  app.add_option("--kv-heads", settings.layout.geometry.kv_heads)->check(CLI::Range(1, 1024));
  app.add_option("--rounds", settings.rounds)->check(CLI::Range(1, 10000));
  app.add_option("--window-bytes", settings.window_bytes);
  CLI11_PARSE(app, argc, argv);
  int control[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, control) != 0) return 1;
  // Before gRPC starts its threads: they would not survive the fork.
  const pid_t child = fork();
  if (child < 0) return 1;
  close(control[child == 0 ? 0 : 1]);
  auto device = device::CreateDevice({.name = "cpu", .threads = 1, .isa = ""});
  if (!device.ok()) return 1;
  if (child == 0) {
    RunReceiver(settings, **device, control[1]);
    return 0;
  }
  const int code = RunSender(settings, **device, control[0]);
  close(control[0]);
  waitpid(child, nullptr, 0);
  return code;
}

}  // namespace
}  // namespace baton::bench

int main(int argc, char** argv) { return baton::bench::Main(argc, argv); }
