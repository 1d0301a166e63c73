#include "kvcache/transfer/pair_book.h"

#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace baton::kvcache {
namespace {

absl::StatusOr<int64_t> Judge(const std::string& address, uint64_t incarnation,
                              const absl::StatusOr<v1::PairReply>& reply) {
  if (!reply.ok()) {
    // A node that does not answer in time is gone as far as this hand-over is concerned.
    const absl::StatusCode code = absl::IsDeadlineExceeded(reply.status())
                                      ? absl::StatusCode::kUnavailable
                                      : reply.status().code();
    return absl::Status(code,
                        absl::StrCat("pairing with ", address, ": ", reply.status().message()));
  }
  if (reply->incarnation() == incarnation) return reply->window_bytes();
  return absl::FailedPreconditionError(absl::StrFormat(
      "pairing with %s: the hand-over is meant for incarnation %016x, but %016x answered", address,
      incarnation, reply->incarnation()));
}

}  // namespace

PairBook::~PairBook() {
  std::list<Attempt> attempts;
  {
    MutexLock lock(mutex_);
    attempts.swap(attempts_);
  }
  for (Attempt& attempt : attempts) attempt.thread.join();
}

void PairBook::Pair(const std::string& address, uint64_t incarnation, Callback callback) {
  JoinFinished();
  absl::StatusOr<int64_t> result = int64_t{0};
  {
    MutexLock lock(mutex_);
    auto known = known_.find(address);
    if (known != known_.end() && known->second.incarnation() == incarnation) {
      result = known->second.window_bytes();
    } else {
      std::vector<Waiter>& waiters = waiters_[address];
      waiters.push_back({incarnation, callback});
      if (waiters.size() > 1) return;
      Attempt& attempt = attempts_.emplace_back();
      try {
        attempt.thread = std::thread([this, address, &attempt] { Ask(address, attempt); });
        return;
      } catch (const std::system_error& error) {
        attempts_.pop_back();
        waiters_.erase(address);
        result = absl::ResourceExhaustedError(
            absl::StrCat("pairing with ", address, ": no thread: ", error.what()));
      }
    }
  }
  callback(std::move(result));
}

void PairBook::JoinFinished() {
  std::list<Attempt> finished;
  {
    MutexLock lock(mutex_);
    for (auto it = attempts_.begin(); it != attempts_.end();) {
      auto next = std::next(it);
      if (it->finished) finished.splice(finished.end(), attempts_, it);
      it = next;
    }
  }
  for (Attempt& attempt : finished) attempt.thread.join();
}

void PairBook::Ask(const std::string& address, Attempt& attempt) {
  const absl::StatusOr<v1::PairReply> reply = transport_.Pair(address, request_, timeout_);
  std::vector<Waiter> waiters;
  {
    MutexLock lock(mutex_);
    if (reply.ok()) known_[address] = *reply;
    waiters = std::move(waiters_[address]);
    waiters_.erase(address);
  }
  for (Waiter& waiter : waiters) {
    waiter.callback(Judge(address, waiter.incarnation, reply));
  }
  MutexLock lock(mutex_);
  attempt.finished = true;
}

}  // namespace baton::kvcache
