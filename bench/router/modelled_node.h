// Nodes that sleep instead of computing: as long as a modelled chip would take, over real gRPC, so
// that the router can be measured alone and under loads that this machine could not compute.
#pragma once

#include <grpcpp/server.h>

#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "bench/router/event_outbox.h"
#include "proto/decode.grpc.pb.h"
#include "proto/node.grpc.pb.h"
#include "proto/prefill.grpc.pb.h"

namespace baton::bench {

// What the modelled chip can do.
struct ModelledSpeed {
  double prefill_tokens_per_s = 2000;
  double step_ms = 5;             // of a decode step, without sequences
  double step_sequence_ms = 0.2;  // for each sequence
  int32_t blocks = 8192;          // of the KV pool
  int32_t block_tokens = 32;
  int32_t chunk_tokens = 64;  // prompt tokens of one decode step, where a decode node prefills
  int64_t context_length = 32768;
};

class ModelledNode;

// Stands for the hand-over: takes no time, and knows which call waits for which ticket.
class ModelledWire {
 public:
  void Expect(const std::string& ticket, ModelledNode* node, uint64_t sequence);
  void Commit(const std::string& ticket);
  void Forget(const std::string& ticket);

 private:
  std::mutex mutex_;
  std::map<std::string, std::pair<ModelledNode*, uint64_t>> waiting_;
};

// A prefill or a decode node in a process of its own kind: registers at a router and serves until
// it is destroyed. Thread-safe.
class ModelledNode final : public v1::Prefill::CallbackService, public v1::Decode::CallbackService {
 public:
  ModelledNode(v1::NodeRole role, std::string id, const ModelledSpeed& speed, uint64_t fingerprint,
               const std::string& version, std::shared_ptr<ModelledWire> wire);
  ~ModelledNode() override;

  void Join(const std::string& router_address);

  grpc::ServerWriteReactor<v1::PrefillEvent>* Run(grpc::CallbackServerContext* context,
                                                  const v1::PrefillRequest* request) override;
  grpc::ServerWriteReactor<v1::DecodeEvent>* Generate(grpc::CallbackServerContext* context,
                                                      const v1::DecodeRequest* request) override;
  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context, const v1::RenewRequest*,
                                  v1::RenewReply*) override;
  // The hand-over for `sequence` has come.
  void Committed(uint64_t sequence);

 private:
  struct PrefillJob {
    std::shared_ptr<EventOutbox<v1::PrefillEvent>> outbox;
    int64_t tokens = 0;
    int32_t first_index = 0;
    int32_t max_tokens = 0;
    std::string ticket;  // empty: no hand-over
    std::chrono::steady_clock::time_point arrived;
  };
  struct Sequence {
    std::shared_ptr<EventOutbox<v1::DecodeEvent>> outbox;
    std::string ticket;
    int64_t uncomputed = 0;  // of a prompt that is prefilled here
    int32_t next_index = 0;
    int32_t max_tokens = 0;
    int32_t blocks = 0;
    bool runs = false;
    bool prefills = false;
    std::chrono::steady_clock::time_point arrived;
  };

  void RunPrefill();
  void RunDecode();
  // One step of everything that runs; false when nothing does. `lock` is let go while time passes.
  bool Step(std::unique_lock<std::mutex>& lock);
  // Takes one sequence a step further; false when it has ended.
  bool Advance(Sequence& sequence, int64_t* chunk, double step_seconds);
  v1::NodeLoad Load();
  v1::NodeHello Hello() const;
  void Report(const std::string& router_address);

  const v1::NodeRole role_;
  const std::string id_;
  const ModelledSpeed speed_;
  const uint64_t fingerprint_;
  const std::string version_;
  const std::shared_ptr<ModelledWire> wire_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  bool stop_ = false;
  std::deque<PrefillJob> jobs_;
  int64_t queued_tokens_ = 0;
  uint64_t next_sequence_ = 1;
  std::map<uint64_t, Sequence> sequences_;
  int32_t blocks_free_ = 0;
  int64_t tokens_ = 0;
  double step_seconds_ = 0;

  std::thread engine_;
  std::thread registration_;
};

}  // namespace baton::bench
