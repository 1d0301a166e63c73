// Prefill and decode nodes that compute nothing: scripted answers over real gRPC, registered at a
// real router.
#pragma once

#include <grpcpp/server.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "proto/decode.grpc.pb.h"
#include "proto/node.grpc.pb.h"
#include "proto/prefill.grpc.pb.h"

namespace baton::fakes {

// Stands for the hand-over between the nodes of one test: which tickets have been committed, with
// which epoch.
class FakeWire {
 public:
  void Commit(const std::string& ticket_id, uint64_t epoch);
  // 0 while there is no commit.
  uint64_t CommittedEpoch(const std::string& ticket_id) const;

 private:
  mutable Mutex mutex_;
  std::map<std::string, uint64_t> epochs_ ABSL_GUARDED_BY(mutex_);
};

// What a node does. Read at each call: a test may change it between requests (SetScript).
struct NodeScript {
  // The output token at `index` of a prompt with `seed`.
  std::function<int32_t(const std::vector<int32_t>& prompt, uint64_t seed, int32_t index)> token =
      [](const std::vector<int32_t>&, uint64_t, int32_t) { return 3 + 'a'; };
  std::vector<int32_t> eos_ids = {0, 2};
  // Both roles: the call ends with this before anything is sent, where it is not OK.
  grpc::Status refuse;
  // Time until the first token, on a decode node that prefills too; the call ends with `break_off`
  // after the first token where that is not OK.
  int first_token_ms = 0;
  int32_t drop_scores_from = INT32_MAX;  // positions of the prompt that are not scored
  int32_t cached_tokens = 0;             // of each prompt, as whoever computes it says
  grpc::Status break_off;
  // Prefill: only this many calls fail with `refuse` or `break_off`; -1: all.
  int failures = -1;
  // Decode: time between tokens; from output index `die_at` on the call ends with `death` instead.
  int token_ms = 0;
  int die_at = -1;
  grpc::Status death =
      grpc::Status(grpc::StatusCode::UNAVAILABLE, "ipv4:10.0.0.1:77: scripted death");
  int lease_timeout_ms = 10000;
  bool never_leases = false;  // decode: waits until cancelled
};

class FakeNode final : public v1::Prefill::Service, public v1::Decode::Service {
 public:
  struct Options {
    v1::NodeRole role = v1::NODE_ROLE_PREFILL;
    std::string node_id;
    uint64_t incarnation = 1;
    uint64_t fingerprint = 0;  // RouterFixture: 0 means that of its own model
    std::string version = "test";
    int32_t block_tokens = 32;
    int64_t context_length = 512;
    int32_t blocks_total = 64;
    double prefill_tokens_per_s = 1000;
    int report_ms = 50;
  };
  FakeNode(Options options, std::shared_ptr<FakeWire> wire);
  ~FakeNode() override;

  // Registers at the router and keeps reporting until Leave.
  void Join(const std::string& router_address);
  // The stream ends in good order.
  void Leave();
  // The stream stays, and nothing is said on it any more.
  void FallSilent() { silent_ = true; }
  void SetDraining(bool draining) { draining_ = draining; }
  // The server goes at once; calls break.
  void Kill();

  // Says on the registration's stream what is cached; sent with the next report.
  void SendCache(v1::CacheEvents events) ABSL_LOCKS_EXCLUDED(mutex_);
  // How often the router asked for everything that is cached.
  int cache_asked() const { return cache_asked_; }

  void SetScript(NodeScript script) ABSL_LOCKS_EXCLUDED(mutex_);

  // What the node saw.
  int calls() const { return calls_; }
  int running() const { return running_; }
  int cancelled() const { return cancelled_; }
  int renewed() const { return renewed_; }
  std::vector<v1::PrefillRequest> prefill_requests() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<v1::DecodeRequest> decode_requests() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The W3C trace context of each call; empty where it had none.
  std::vector<std::string> traceparents() const ABSL_LOCKS_EXCLUDED(mutex_);
  // How the registration ended: OK while it stands.
  grpc::Status join_status() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool accepted() const { return accepted_; }
  const Options& options() const { return options_; }

  grpc::Status Run(grpc::ServerContext* context, const v1::PrefillRequest* request,
                   grpc::ServerWriter<v1::PrefillEvent>* writer) override;
  grpc::Status Generate(grpc::ServerContext* context, const v1::DecodeRequest* request,
                        grpc::ServerWriter<v1::DecodeEvent>* writer) override;
  grpc::Status Renew(grpc::ServerContext* context, const v1::RenewRequest* request,
                     v1::RenewReply* reply) override;

 private:
  NodeScript script() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool TakeFailure() ABSL_LOCKS_EXCLUDED(mutex_);
  v1::Token MakeToken(const NodeScript& script, const std::vector<int32_t>& prompt,
                      const v1::SamplingParams& sampling, int32_t index) const;
  grpc::Status PrefillHere(grpc::ServerContext* context, const NodeScript& script,
                           const v1::DecodeRequest& request,
                           grpc::ServerWriter<v1::DecodeEvent>* writer);
  // Sends the tokens from output index `index` on.
  grpc::Status Stream(grpc::ServerContext* context, const NodeScript& script,
                      const v1::DecodeRequest& request, int32_t index,
                      grpc::ServerWriter<v1::DecodeEvent>* writer);
  // Waits, but not beyond the end of the call; false when that has come.
  bool Pause(grpc::ServerContext* context, int ms);
  void RunRegistration(const std::string& router_address);

  const Options options_;
  const std::shared_ptr<FakeWire> wire_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
  std::thread registration_;
  std::atomic<bool> leave_{false}, silent_{false}, draining_{false}, accepted_{false};
  std::atomic<int> calls_{0}, running_{0}, cancelled_{0}, renewed_{0}, cache_asked_{0};
  mutable Mutex mutex_;
  NodeScript script_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::PrefillRequest> prefill_requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::DecodeRequest> decode_requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> traceparents_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::CacheEvents> cache_events_ ABSL_GUARDED_BY(mutex_);  // not sent yet
  grpc::Status join_status_ ABSL_GUARDED_BY(mutex_);
};

// A script's token function that says `text` byte by byte with the tiny vocabulary, then ends with
// <|im_end|>.
std::function<int32_t(const std::vector<int32_t>&, uint64_t, int32_t)> Says(std::string text);

}  // namespace baton::fakes
