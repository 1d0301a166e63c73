// A node's membership in a cluster: one stream to the router, kept open and opened again.
#pragma once

#include <grpcpp/channel.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "proto/node.pb.h"

namespace grpc {
class ClientContext;
}

namespace baton::server {

// What a node's prefix cache holds, for the router. Called on the registration's thread.
struct CacheFeed {
  // A registration begins, or the router lost something: all that is there is told anew.
  std::function<void()> restart;
  // What changed since; false: nothing.
  std::function<bool(v1::CacheEvents*)> take;
};

// Says hello, then reports the load at every interval, from a thread of its own. When the router
// goes away or refuses, it tries again after 100 to 500 ms.
class Registration {
 public:
  struct Options {
    v1::NodeHello hello;
    absl::Duration interval;             // between load reports
    std::function<v1::NodeLoad()> load;  // called on the registration's thread
    CacheFeed cache = {};                // empty: nothing is told
    // Asked at every interval, on the registration's thread: while it is not OK the node is no
    // member. Null: always OK.
    std::function<absl::Status()> health;
    // The router wants the node in this role; any thread. Null: it is not told.
    std::function<void(v1::NodeRole)> on_role;
    std::function<void(absl::Status)>
        on_change;  // OK: joined; otherwise why not. Called when it changes
  };

  Registration(std::shared_ptr<grpc::Channel> router, Options options);
  ~Registration();  // leaves

  // Sends a report now instead of at the next interval (draining started).
  void ReportNow();

 private:
  void Loop();
  // One membership, until the stream breaks.
  absl::Status Join();
  // Reports until the stream breaks (true), or it is time to leave or `health` is not OK (false).
  template <typename Stream>
  bool Report(Stream& stream, absl::Status* health);
  template <typename Stream>
  bool SendCacheEvents(Stream& stream, uint64_t& sequence);
  absl::Status Health() const { return options_.health ? options_.health() : absl::OkStatus(); }
  // Waits for `time`, ReportNow (then `since_load`, which may be null, becomes infinite) or the
  // end; false: the end.
  bool WaitFor(absl::Duration time, absl::Duration* since_load);
  void Tell(absl::Status status);

  const std::shared_ptr<grpc::Channel> router_;
  const Options options_;
  Mutex mutex_;
  CondVar wake_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool report_now_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;  // of the open stream
  std::atomic<bool> resend_cache_{false};       // the router wants to hear all that there is
  absl::Status told_ = absl::UnknownError("");  // registration's thread only
  std::thread thread_;
};

}  // namespace baton::server
