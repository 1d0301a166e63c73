#include "kvcache/transfer/kv_sender.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "kvcache/transfer/kv_layout_proto.h"
#include "kvcache/transfer/pair_book.h"
#include "kvcache/transfer/push_state.h"

namespace baton::kvcache {
namespace {

using PushPtr = std::shared_ptr<PushState>;

// The hand-overs that have something to do, and the thread that does it. Outlives the sender as
// long as a hand-over is referenced, so that a late Cancel finds it.
class PushLoop {
 public:
  void Add(const PushPtr& push) {
    MutexLock lock(mutex_);
    active_.insert(push);
  }

  void Wake(PushPtr push) {
    MutexLock lock(mutex_);
    if (!active_.contains(push)) return;
    if (std::find(ready_.begin(), ready_.end(), push) == ready_.end()) {
      ready_.push_back(std::move(push));
    }
    changed_.notify_one();
  }

  // Runs hand-overs until Stop was called and all have ended.
  void Run() {
    while (PushPtr push = Next()) {
      if (!push->Run()) continue;
      MutexLock lock(mutex_);
      active_.erase(push);
    }
  }

  // Cancels what is under way; Run returns when all of it has ended.
  void Stop() {
    std::vector<PushPtr> active;
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      active.assign(active_.begin(), active_.end());
      changed_.notify_one();
    }
    for (const PushPtr& push : active) push->Cancel();
  }

 private:
  // Waits for a hand-over that was woken or whose deadline has come; null when it is time to stop.
  PushPtr Next() {
    MutexLock lock(mutex_);
    while (ready_.empty()) {
      if (stopping_ && active_.empty()) return nullptr;
      absl::Time deadline = absl::InfiniteFuture();
      PushPtr first;
      for (const PushPtr& push : active_) {
        const absl::Time its = push->NextDeadline();
        if (its < deadline) {
          deadline = its;
          first = push;
        }
      }
      if (first == nullptr) {
        changed_.wait(mutex_);
        continue;
      }
      const absl::Duration left = deadline - SystemClock::Get().Now();
      if (left <= absl::ZeroDuration()) return first;
      changed_.wait_for(mutex_, absl::ToChronoNanoseconds(left));
    }
    PushPtr push = std::move(ready_.front());
    ready_.pop_front();
    return push;
  }

  Mutex mutex_;
  CondVar changed_;
  std::deque<PushPtr> ready_ ABSL_GUARDED_BY(mutex_);
  std::set<PushPtr> active_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

v1::PairRequest MakePairRequest(const KvLayout& layout, const KvSender::Options& options) {
  v1::PairRequest request;
  request.set_node_id(options.node_id);
  request.set_incarnation(options.incarnation);
  *request.mutable_layout() = ToProto(layout);
  return request;
}

class Sender final : public KvSender {
 public:
  Sender(Transport& transport, const KvStore& store, const KvLayout& layout, Options options)
      : layout_(layout),
        pairs_(transport, MakePairRequest(layout, options), options.pair_timeout),
        loop_(std::make_shared<PushLoop>()),
        environment_{transport, store, SystemClock::Get(), options.progress_timeout,
                     [loop = loop_](PushPtr push) { loop->Wake(std::move(push)); }},
        thread_([loop = loop_] { loop->Run(); }) {}

  ~Sender() override {
    loop_->Stop();
    thread_.join();
  }

  std::shared_ptr<KvPush> Start(const KvPushTarget& target,
                                std::function<void(absl::Status)> on_done) override {
    v1::KvManifest manifest;
    *manifest.mutable_ticket() = target.ticket;
    manifest.set_decode_incarnation(target.decode_incarnation);
    manifest.set_model_fingerprint(layout_.model_fingerprint);
    manifest.set_layout_version(layout_.version);
    manifest.set_block_tokens(layout_.geometry.block_tokens);
    auto push = std::make_shared<PushState>(environment_, target.address, target.timeout,
                                            std::move(manifest), std::move(on_done));
    loop_->Add(push);
    pairs_.Pair(
        target.address, target.decode_incarnation,
        [push](absl::StatusOr<int64_t> window_bytes) { push->OnPaired(std::move(window_bytes)); });
    return push;
  }

 private:
  const KvLayout layout_;
  PairBook pairs_;
  const std::shared_ptr<PushLoop> loop_;
  const PushState::Environment environment_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<KvSender> KvSender::Create(Transport& transport, const KvStore& store,
                                           const KvLayout& layout, Options options) {
  BATON_CHECK(store.geometry() == layout.geometry, "the layout describes the store");
  return std::make_unique<Sender>(transport, store, layout, std::move(options));
}

}  // namespace baton::kvcache
