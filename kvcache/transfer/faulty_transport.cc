#include "kvcache/transfer/faulty_transport.h"

#include <deque>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "base/mutex.h"
#include "base/rng.h"

namespace baton::kvcache {
namespace {

// Damaged copies of payloads. The transport reads them until the stream has closed.
class Copies {
 public:
  absl::Span<const uint8_t> Damaged(absl::Span<const uint8_t> bytes) {
    MutexLock lock(mutex_);
    std::vector<uint8_t>& copy = copies_.emplace_back(bytes.begin(), bytes.end());
    const uint64_t bit = CounterRandom(copies_.size(), copy.size()) % (copy.size() * 8);
    copy[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    return copy;
  }

 private:
  Mutex mutex_;
  std::deque<std::vector<uint8_t>> copies_ ABSL_GUARDED_BY(mutex_);
};

OutgoingFrame CopyOf(const OutgoingFrame& frame) {
  OutgoingFrame copy;
  copy.manifest = frame.manifest;
  copy.payload = frame.payload;
  if (frame.commit != nullptr) copy.commit = std::make_unique<v1::KvCommit>(*frame.commit);
  return copy;
}

class FaultyStream final : public PushStream {
 public:
  FaultyStream(std::shared_ptr<PushStream> inner, std::shared_ptr<Copies> copies,
               const NextFrameFault& next)
      : inner_(std::move(inner)), copies_(std::move(copies)), next_(next) {}

  void Send(OutgoingFrame frame) override {
    const FrameFault fault = next_(!frame.payload.empty());
    if (fault.delay > absl::ZeroDuration()) absl::SleepFor(fault.delay);
    if (fault.break_stream) return inner_->Cancel();
    if (fault.drop) return;
    if (fault.duplicate && frame.commit == nullptr) inner_->Send(CopyOf(frame));
    if (fault.corrupt_payload && !frame.payload.empty()) {
      frame.payload.front() = copies_->Damaged(frame.payload.front());
    }
    if (fault.corrupt_manifest) {
      frame.manifest.set_layer(frame.manifest.layer() ^ 1);
      if (frame.commit != nullptr)
        frame.commit->set_prompt_tokens(frame.commit->prompt_tokens() ^ 1);
    }
    inner_->Send(std::move(frame));
  }

  void Cancel() override { inner_->Cancel(); }

 private:
  const std::shared_ptr<PushStream> inner_;
  const std::shared_ptr<Copies> copies_;
  const NextFrameFault& next_;
};

class FaultyTransport final : public Transport {
 public:
  FaultyTransport(Transport& inner, NextFrameFault next) : inner_(inner), next_(std::move(next)) {}

  absl::StatusOr<v1::PairReply> Pair(const std::string& address, const v1::PairRequest& request,
                                     absl::Duration timeout) override {
    return inner_.Pair(address, request, timeout);
  }

  std::shared_ptr<PushStream> OpenPush(const std::string& address, absl::Duration timeout,
                                       PushStream::Events events) override {
    auto copies = std::make_shared<Copies>();
    // Until the stream has closed, which may be later than the sender lets go of it.
    events.on_closed = [copies, on_closed = std::move(events.on_closed)](absl::Status status) {
      on_closed(std::move(status));
    };
    return std::make_shared<FaultyStream>(inner_.OpenPush(address, timeout, std::move(events)),
                                          copies, next_);
  }

 private:
  Transport& inner_;
  const NextFrameFault next_;
};

}  // namespace

std::unique_ptr<Transport> MakeFaultyTransport(Transport& inner, NextFrameFault next) {
  return std::make_unique<FaultyTransport>(inner, std::move(next));
}

}  // namespace baton::kvcache
