// The parts of a HandoverWorld: its nodes, its requests and its network.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/simulation/handover_world.h"

namespace baton::simulation {

inline constexpr int32_t kLayers = 2;
inline constexpr int32_t kBlockTokens = 16;
inline constexpr int32_t kBlocks = 24;  // of each pool
inline constexpr uint64_t kFingerprint = 7;
inline constexpr absl::Duration kRenewInterval = absl::Seconds(2);  // of leases
inline constexpr device::KvGeometry kGeometry = {.layers = kLayers,
                                                 .kv_heads = 1,
                                                 .head_dim = 4,
                                                 .block_tokens = kBlockTokens,
                                                 .dtype = device::DType::kF16};

struct HandoverWorld::Node {
  std::string name;
  uint64_t incarnation = 0;
  bool up = false;
  absl::Time frozen_until;
  absl::Time clogged_until;  // what comes in
};

struct HandoverWorld::Request {
  uint64_t id = 0, router = 0, attempt = 0;
  int32_t blocks = 0;
  v1::Ticket ticket;
  Decode* decode = nullptr;
  uint64_t decode_incarnation = 0;
  Prefill* prefill = nullptr;
  uint64_t prefill_incarnation = 0;
  bool leased = false, committed = false, over = false;
  int calls = 0;
  int32_t tokens() const { return blocks * kBlockTokens - 3; }
};

struct HandoverWorld::Decode : Node {
  struct Lease {
    int32_t blocks = 0;
    absl::Time touched;
  };
  std::unique_ptr<kvcache::BlockPool> pool;
  std::unique_ptr<kvcache::KvStore> store;
  std::unique_ptr<decode_node::KvIntake> intake;
  std::unique_ptr<Sink> sink;
  std::unique_ptr<kvcache::KvReceiver> receiver;
  std::map<uint64_t, Stream*> streams;  // by number: addresses differ from run to run
  // What the pool's numbers must agree with.
  std::map<std::string, Lease> leases;
  std::map<std::string, std::vector<kvcache::BlockRef>> running;
  std::set<std::string> ended;  // calls that were cancelled
  std::string committing;       // ticket of the commit under way
};

struct HandoverWorld::Prefill : Node {
  struct Push {
    std::shared_ptr<Request> request;
    std::vector<kvcache::BlockRef> blocks;
    std::shared_ptr<kvcache::PushState> state;
    bool deadline_set = false;
  };
  std::unique_ptr<kvcache::BlockPool> pool;
  std::unique_ptr<kvcache::KvStore> store;  // outlives restarts, as memory that is still read does
  std::unique_ptr<Wire> wire;
  std::map<PushKey, Push> pushes;
};

// Between checks and leases: where variants are broken, and where leases are seen to be touched.
class HandoverWorld::Sink final : public kvcache::KvSink {
 public:
  Sink(HandoverWorld& world, Decode& node) : world_(world), node_(node) {}

  absl::StatusOr<std::unique_ptr<WriteGrant>> BeginWrite(const v1::KvManifest& manifest) override;
  void EndWrite(const v1::KvManifest& manifest) override;
  absl::Status Commit(const v1::KvCommit& commit) override;

 private:
  v1::KvManifest Seen(v1::KvManifest manifest);

  HandoverWorld& world_;
  Decode& node_;
  std::map<std::string, uint64_t> newest_;  // epoch by ticket
};

// One Push stream over the modelled network. In order, unless a fault reorders it.
class HandoverWorld::Stream final : public kvcache::PushStream,
                                    public std::enable_shared_from_this<Stream> {
 public:
  Stream(HandoverWorld& world, Prefill& from, Decode& to, Events events);
  ~Stream() override;

  void Send(kvcache::OutgoingFrame frame) override;
  void Cancel() override { Close(absl::CancelledError("cancelled")); }
  // The receiving process is gone.
  void Break();

 private:
  struct Packet {
    v1::KvManifest manifest;
    std::unique_ptr<v1::KvCommit> commit;
    std::vector<uint8_t> bytes;
  };
  void Damage(Packet& packet);
  void Deliver(const std::shared_ptr<Packet>& packet, absl::Time arrival);
  void Arrived(const Packet& packet);
  void Close(const absl::Status& status);

  HandoverWorld& world_;
  Prefill& from_;
  const uint64_t from_incarnation_;
  Decode& to_;
  const uint64_t to_incarnation_;
  const Events events_;
  std::unique_ptr<kvcache::KvReceiverStream> receiver_;
  absl::Time last_arrival_, last_ack_;
  const uint64_t number_;
  bool closed_ = false;
};

// What a prefill node has of the network.
class HandoverWorld::Wire final : public kvcache::Transport {
 public:
  Wire(HandoverWorld& world, Prefill& from) : world_(world), from_(from) {}
  absl::StatusOr<v1::PairReply> Pair(const std::string& address, const v1::PairRequest& request,
                                     absl::Duration timeout) override;
  std::shared_ptr<kvcache::PushStream> OpenPush(const std::string& address, absl::Duration timeout,
                                                kvcache::PushStream::Events events) override;

 private:
  Decode& Find(const std::string& address);

  HandoverWorld& world_;
  Prefill& from_;
};

}  // namespace baton::simulation
