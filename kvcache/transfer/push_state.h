// The state machine of one hand-over: pairing, frames within the credit, resends, commit, end.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "kvcache/kv_store.h"
#include "kvcache/transfer/kv_sender.h"
#include "kvcache/transfer/transport.h"

namespace baton::kvcache {

// Any thread may tell it what happened (blocks are ready, an ack came, the stream is over, give
// up); it notes that and asks to be woken. Only Run, on the sender's thread, acts: it opens the
// stream, makes checksums, sends, cancels and ends.
class PushState final : public KvPush, public std::enable_shared_from_this<PushState> {
 public:
  struct Environment {
    Transport& transport;
    const KvStore& store;
    const Clock& clock;
    absl::Duration progress_timeout;
    // Asks for a Run. Called with no lock of this class held.
    std::function<void(std::shared_ptr<PushState>)> wake;
  };

  // `timeout`: of the stream. `manifest` holds the fields that all frames of the hand-over share.
  PushState(const Environment& environment, std::string address, absl::Duration timeout,
            v1::KvManifest manifest, std::function<void(absl::Status)> on_done);

  void SendBlocks(int32_t layer, int32_t block_begin, absl::Span<const int32_t> block_ids) override;
  void Commit(int32_t prompt_tokens, const v1::Token& first_token) override;
  void Cancel() override;
  int64_t bytes_sent() const override { return bytes_sent_; }

  // The result of pairing: the credit of a new stream, or why there is none.
  void OnPaired(absl::StatusOr<int64_t> window_bytes);
  // Does what can be done now. True once on_done ran: nothing more will happen. One thread only.
  bool Run();
  // When Run must be called although nothing happened.
  absl::Time NextDeadline() const;

 private:
  // Layer, first block of the table, blocks.
  using FrameKey = std::tuple<int32_t, int32_t, int32_t>;
  struct Frame {
    int32_t layer = 0;
    int32_t block_begin = 0;
    std::vector<int32_t> block_ids;
    uint64_t payload_xxh3 = 0;
    int resends = 0;
    FrameKey key() const { return {layer, block_begin, static_cast<int32_t>(block_ids.size())}; }
  };
  // What Run has to do next, decided under the lock and done outside it.
  struct Step {
    enum class Kind : uint8_t { kWait, kSendNew, kSendAgain, kCommit, kCancel, kEnd };
    Kind kind = Kind::kWait;
    Frame frame;
    std::unique_ptr<v1::KvCommit> commit;
  };

  void Wake() { environment_.wake(shared_from_this()); }
  Step NextStep();
  Step NextSendStep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Frame CutFrame() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasDeadline() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fail(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Resend(const v1::KvManifest& refused) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t FrameBytes(const Frame& frame) const;
  void OnAck(const v1::KvAck& ack);
  void OnClosed(absl::Status status);
  void OpenStream();
  void SendFrame(Frame frame);
  void End();

  const Environment environment_;
  const std::string address_;
  const absl::Duration timeout_;
  const v1::KvManifest base_manifest_;
  std::atomic<int64_t> bytes_sent_{0};
  std::shared_ptr<PushStream> stream_;  // touched by Run only

  mutable Mutex mutex_;
  std::function<void(absl::Status)> on_done_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);  // the first one
  std::optional<int64_t> window_bytes_ ABSL_GUARDED_BY(mutex_);
  int64_t unacknowledged_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Frame> ranges_ ABSL_GUARDED_BY(mutex_);  // as queued, not yet cut into frames
  std::deque<Frame> again_ ABSL_GUARDED_BY(mutex_);   // refused frames
  std::map<FrameKey, Frame> sent_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<v1::KvCommit> commit_ ABSL_GUARDED_BY(mutex_);
  absl::Time last_progress_ ABSL_GUARDED_BY(mutex_);
  bool commit_sent_ ABSL_GUARDED_BY(mutex_) = false;
  bool committed_ ABSL_GUARDED_BY(mutex_) = false;
  bool opened_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancel_sent_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace baton::kvcache
