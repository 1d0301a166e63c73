// Which decode nodes this node has paired with, and the pairings that are under way.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "kvcache/transfer/transport.h"

namespace baton::kvcache {

// One entry an address. A node that restarted has a new incarnation and is paired with anew.
// Thread-safe.
class PairBook {
 public:
  // The credit in bytes of a new stream; FailedPrecondition (layouts differ, or another incarnation
  // answered), Unavailable (nobody answered).
  using Callback = std::function<void(absl::StatusOr<int64_t>)>;

  PairBook(Transport& transport, v1::PairRequest request, absl::Duration timeout)
      : transport_(transport), request_(std::move(request)), timeout_(timeout) {}
  // Waits for the pairings under way.
  ~PairBook();

  // Calls back at once where the pair is known, otherwise later on a thread of this class: each
  // address has its own, so that a node that does not answer delays nobody else.
  void Pair(const std::string& address, uint64_t incarnation, Callback callback);

 private:
  struct Waiter {
    uint64_t incarnation;
    Callback callback;
  };
  struct Attempt {
    std::thread thread;
    bool finished = false;
  };
  void JoinFinished();
  void Ask(const std::string& address, Attempt& attempt);

  Transport& transport_;
  const v1::PairRequest request_;
  const absl::Duration timeout_;
  Mutex mutex_;
  std::map<std::string, v1::PairReply> known_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::vector<Waiter>> waiters_ ABSL_GUARDED_BY(mutex_);
  std::list<Attempt> attempts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace baton::kvcache
