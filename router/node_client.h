// Calls to one node.
#pragma once

#include <grpcpp/channel.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "proto/decode.grpc.pb.h"
#include "proto/prefill.grpc.pb.h"
#include "router/learnt_line.h"
#include "router/node_trust.h"
#include "router/stream_call.h"

namespace baton::router {

using PrefillCall = StreamCall<v1::PrefillEvent>;
using DecodeCall = StreamCall<v1::DecodeEvent>;

// Work that this router has sent to a node: the part that the node's load reports do not show yet,
// and the part that has not come back. Thread-safe.
struct SentWork {
  // Prompt tokens to compute, of prompts whose first token has not come: on a prefill node, and on
  // a decode node that prefills.
  std::atomic<int64_t> tokens_outstanding{0};
  std::atomic<int64_t> prompts_outstanding{0};  // these prompts
  std::atomic<int64_t> tokens_since_report{0};
  std::atomic<int64_t> sequences_outstanding{0};  // decode: open calls
  std::atomic<int64_t> sequences_since_report{0};
  std::atomic<int64_t> blocks_since_report{0};
};

// Counts open calls of a process, so that it can wait for the last one before it goes.
class OpenCalls {
 public:
  void Add() ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove() ABSL_LOCKS_EXCLUDED(mutex_);
  // False when some are still open after `timeout`.
  bool WaitUntilNone(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  Mutex mutex_;
  CondVar changed_;
  int64_t open_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Thread-safe. Outlives its calls by shared ownership.
class NodeClient : public std::enable_shared_from_this<NodeClient> {
 public:
  // `open_calls` must outlive every call.
  NodeClient(std::shared_ptr<grpc::Channel> channel, OpenCalls* open_calls);

  struct CallOptions {
    absl::Duration timeout;   // the call's deadline, from now
    std::string traceparent;  // W3C trace context; empty: none
  };
  // Start a call on `executor`.
  std::shared_ptr<PrefillCall> Run(const v1::PrefillRequest& request, const CallOptions& options,
                                   Executor executor, PrefillCall::OnEvent on_event,
                                   PrefillCall::OnEnd on_end);
  std::shared_ptr<DecodeCall> Generate(const v1::DecodeRequest& request, const CallOptions& options,
                                       Executor executor, DecodeCall::OnEvent on_event,
                                       DecodeCall::OnEnd on_end);
  // Renews leases. `done` runs on a gRPC thread.
  void Renew(const std::vector<std::string>& ticket_ids, absl::Duration timeout,
             std::function<void(const absl::Status&, const v1::RenewReply&)> done);

  // The node is gone: every open call ends with Unavailable, later ones too.
  void Lose() ABSL_LOCKS_EXCLUDED(mutex_);

  // A call could not be made or broke off, or the node answered.
  void CallFailed(absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);
  void CallWorked() ABSL_LOCKS_EXCLUDED(mutex_);
  // The same of a hand-over from this node to the decode node of that incarnation.
  void HandOverFailed(uint64_t decode_incarnation, absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);
  void HandOverWorked(uint64_t decode_incarnation) ABSL_LOCKS_EXCLUDED(mutex_);
  // Better not used for now, where there is another.
  bool Paused(absl::Time now) const ABSL_LOCKS_EXCLUDED(mutex_);
  bool HandOverPaused(uint64_t decode_incarnation, absl::Time now) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  SentWork& sent() { return sent_; }
  // What was learnt of the node since it registered.
  NodeRates& rates() { return rates_; }

 private:
  template <typename Call, typename Starter>
  std::shared_ptr<Call> Begin(std::shared_ptr<Call> call, const CallOptions& options,
                              const Starter& start);

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Prefill::Stub> prefill_;
  std::unique_ptr<v1::Decode::Stub> decode_;
  OpenCalls* open_calls_;
  SentWork sent_;
  NodeRates rates_;
  mutable Mutex mutex_;
  bool lost_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<bool> doubted_{false};  // whether there is anything in the next two
  std::optional<NodeTrust> trust_ ABSL_GUARDED_BY(mutex_);      // none: nothing failed
  std::map<uint64_t, NodeTrust> ways_ ABSL_GUARDED_BY(mutex_);  // by incarnation; that failed
  std::map<AnyCall*, std::weak_ptr<AnyCall>> calls_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace baton::router
