#include "kvcache/transfer/push_state.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "kvcache/transfer/block_bytes.h"
#include "kvcache/transfer/frame_checksum.h"

namespace baton::kvcache {
namespace {

// Large enough that the cost of a frame does not count, small enough that a resend is cheap.
constexpr int64_t kFramePayloadBytes = 1 << 20;
constexpr int kMaxResends = 3;

}  // namespace

PushState::PushState(const Environment& environment, std::string address, absl::Duration timeout,
                     v1::KvManifest manifest, std::function<void(absl::Status)> on_done)
    : environment_(environment),
      address_(std::move(address)),
      timeout_(timeout),
      base_manifest_(std::move(manifest)),
      on_done_(std::move(on_done)),
      last_progress_(environment.clock.Now()) {}

void PushState::SendBlocks(int32_t layer, int32_t block_begin,
                           absl::Span<const int32_t> block_ids) {
  const KvStore& store = environment_.store;
  BATON_CHECK(layer >= 0 && layer < store.geometry().layers, "no such layer");
  BATON_CHECK(block_begin >= 0, "a block table starts at 0");
  for (int32_t id : block_ids) BATON_CHECK(id >= 0 && id < store.blocks(), "no such block");
  if (block_ids.empty()) return;
  {
    MutexLock lock(mutex_);
    if (done_ || !failure_.ok()) return;
    BATON_CHECK(commit_ == nullptr, "blocks are queued before the commit");
    Frame range;
    range.layer = layer;
    range.block_begin = block_begin;
    range.block_ids.assign(block_ids.begin(), block_ids.end());
    ranges_.push_back(std::move(range));
  }
  Wake();
}

void PushState::Commit(int32_t prompt_tokens, const v1::Token& first_token) {
  auto commit = std::make_unique<v1::KvCommit>();
  *commit->mutable_ticket() = base_manifest_.ticket();
  commit->set_decode_incarnation(base_manifest_.decode_incarnation());
  commit->set_prompt_tokens(prompt_tokens);
  *commit->mutable_first_token() = first_token;
  commit->set_commit_xxh3(CommitXxh3(*commit));
  {
    MutexLock lock(mutex_);
    if (done_ || !failure_.ok()) return;
    BATON_CHECK(commit_ == nullptr, "a hand-over is committed once");
    commit_ = std::move(commit);
  }
  Wake();
}

void PushState::Cancel() {
  {
    MutexLock lock(mutex_);
    if (done_) return;
    Fail(absl::CancelledError("the hand-over was cancelled"));
  }
  Wake();
}

void PushState::OnPaired(absl::StatusOr<int64_t> window_bytes) {
  {
    MutexLock lock(mutex_);
    if (done_) return;
    const int64_t block_bytes = environment_.store.geometry().BlockLayerBytes();
    if (!window_bytes.ok()) {
      Fail(window_bytes.status());
    } else if (*window_bytes < block_bytes) {
      Fail(absl::ResourceExhaustedError(
          absl::StrFormat("kv hand-over: %s grants a window of %d bytes, one block needs %d",
                          address_, *window_bytes, block_bytes)));
    } else {
      window_bytes_ = *window_bytes;
    }
  }
  Wake();
}

bool PushState::Run() {
  while (true) {
    Step step = NextStep();
    switch (step.kind) {
      case Step::Kind::kWait:
        return false;
      case Step::Kind::kSendNew:
        step.frame.payload_xxh3 =
            PayloadXxh3(BlockPieces(environment_.store, step.frame.layer, step.frame.block_ids));
        {
          MutexLock lock(mutex_);
          sent_[step.frame.key()] = step.frame;
        }
        SendFrame(std::move(step.frame));
        break;
      case Step::Kind::kSendAgain:
        SendFrame(std::move(step.frame));
        break;
      case Step::Kind::kCommit: {
        OpenStream();
        OutgoingFrame out;
        out.commit = std::move(step.commit);
        stream_->Send(std::move(out));
        break;
      }
      case Step::Kind::kCancel:
        stream_->Cancel();
        break;
      case Step::Kind::kEnd:
        End();
        return true;
    }
  }
}

absl::Time PushState::NextDeadline() const {
  MutexLock lock(mutex_);
  return HasDeadline() ? last_progress_ + environment_.progress_timeout : absl::InfiniteFuture();
}

// An answer is due while bytes or the commit are out, and the end of the stream after the commit.
bool PushState::HasDeadline() const {
  if (!opened_ || closed_ || cancel_sent_) return false;
  return unacknowledged_bytes_ > 0 || commit_sent_;
}

PushState::Step PushState::NextStep() {
  MutexLock lock(mutex_);
  Step step;
  if (done_) return step;
  const bool stream_is_over = !opened_ || closed_;
  if (stream_is_over && (closed_ || !failure_.ok())) {
    step.kind = Step::Kind::kEnd;
    return step;
  }
  if (closed_ || cancel_sent_) return step;
  if (HasDeadline() && environment_.clock.Now() >= last_progress_ + environment_.progress_timeout) {
    Fail(absl::DeadlineExceededError(absl::StrFormat(
        "kv hand-over: %s acknowledged nothing for %s, %d bytes are out", address_,
        absl::FormatDuration(environment_.progress_timeout), unacknowledged_bytes_)));
    cancel_sent_ = true;
  }
  if (!failure_.ok() || cancel_sent_) {
    cancel_sent_ = true;
    step.kind = Step::Kind::kCancel;
    return step;
  }
  if (!window_bytes_.has_value() || committed_) return step;
  return NextSendStep();
}

PushState::Step PushState::NextSendStep() {
  Step step;
  if (!again_.empty()) {
    if (unacknowledged_bytes_ + FrameBytes(again_.front()) > *window_bytes_) return step;
    step.kind = Step::Kind::kSendAgain;
    step.frame = std::move(again_.front());
    again_.pop_front();
  } else if (!ranges_.empty()) {
    Frame frame = CutFrame();
    if (frame.block_ids.empty()) return step;
    step.kind = Step::Kind::kSendNew;
    step.frame = std::move(frame);
  } else if (commit_ != nullptr && !commit_sent_) {
    step.kind = Step::Kind::kCommit;
    step.commit = std::make_unique<v1::KvCommit>(*commit_);
    commit_sent_ = true;
  } else {
    return step;
  }
  if (unacknowledged_bytes_ == 0) last_progress_ = environment_.clock.Now();
  if (step.kind != Step::Kind::kCommit) unacknowledged_bytes_ += FrameBytes(step.frame);
  opened_ = true;
  return step;
}

// The next frame of the first range, or one without blocks while the credit does not allow it. A
// frame is as large as the window allows in principle, not as what is free of it just now: small
// frames would cost more than the wait.
PushState::Frame PushState::CutFrame() {
  const int64_t block_bytes = environment_.store.geometry().BlockLayerBytes();
  const int64_t most_bytes = std::min(kFramePayloadBytes, *window_bytes_);
  const size_t most_blocks = std::max<int64_t>(1, most_bytes / block_bytes);
  Frame& range = ranges_.front();
  const size_t count = std::min(most_blocks, range.block_ids.size());
  const int64_t bytes = static_cast<int64_t>(count) * block_bytes;
  Frame frame;
  if (unacknowledged_bytes_ + bytes > *window_bytes_) return frame;
  frame.layer = range.layer;
  frame.block_begin = range.block_begin;
  frame.block_ids.assign(range.block_ids.begin(), range.block_ids.begin() + count);
  range.block_ids.erase(range.block_ids.begin(), range.block_ids.begin() + count);
  range.block_begin += static_cast<int32_t>(count);
  if (range.block_ids.empty()) ranges_.pop_front();
  return frame;
}

int64_t PushState::FrameBytes(const Frame& frame) const {
  return static_cast<int64_t>(frame.block_ids.size()) *
         environment_.store.geometry().BlockLayerBytes();
}

void PushState::Fail(absl::Status status) {
  if (failure_.ok() && !committed_) failure_ = std::move(status);
}

void PushState::Resend(const v1::KvManifest& refused) {
  const FrameKey key{refused.layer(), refused.block_begin(), refused.block_count()};
  auto found = sent_.find(key);
  if (found == sent_.end()) {
    Fail(absl::InternalError(absl::StrFormat(
        "kv hand-over: %s asks again for layer %d, %d blocks from block %d, never sent", address_,
        refused.layer(), refused.block_count(), refused.block_begin())));
    return;
  }
  Frame& frame = found->second;
  if (++frame.resends > kMaxResends) {
    Fail(absl::DataLossError(absl::StrFormat(
        "kv hand-over: layer %d, %d blocks from block %d arrived damaged at %s %d times",
        refused.layer(), refused.block_count(), refused.block_begin(), address_, frame.resends)));
    return;
  }
  again_.push_back(frame);
  // The receiver ignores a commit that overtook a refusal.
  commit_sent_ = false;
}

void PushState::OnAck(const v1::KvAck& ack) {
  {
    MutexLock lock(mutex_);
    if (done_ || closed_) return;
    last_progress_ = environment_.clock.Now();
    // More credit than was used would only let the sender exceed the window that it was paired
    // with.
    unacknowledged_bytes_ -= std::clamp<int64_t>(ack.credit_bytes(), 0, unacknowledged_bytes_);
    if (ack.committed() && commit_sent_ && failure_.ok()) committed_ = true;
    for (const v1::KvManifest& refused : ack.resend()) Resend(refused);
  }
  Wake();
}

void PushState::OnClosed(absl::Status status) {
  {
    MutexLock lock(mutex_);
    closed_ = true;
    if (status.ok()) {
      Fail(absl::UnavailableError(
          absl::StrFormat("kv hand-over: %s ended the stream before the commit", address_)));
    } else {
      Fail(absl::Status(status.code(),
                        absl::StrCat("kv hand-over to ", address_, ": ", status.message())));
    }
  }
  Wake();
}

void PushState::OpenStream() {
  if (stream_ != nullptr) return;
  std::shared_ptr<PushState> self = shared_from_this();
  PushStream::Events events;
  events.on_ack = [self](const v1::KvAck& ack) { self->OnAck(ack); };
  events.on_closed = [self](absl::Status status) { self->OnClosed(std::move(status)); };
  stream_ = environment_.transport.OpenPush(address_, timeout_, std::move(events));
}

void PushState::SendFrame(Frame frame) {
  OpenStream();
  OutgoingFrame out;
  out.manifest = base_manifest_;
  out.manifest.set_layer(frame.layer);
  out.manifest.set_block_begin(frame.block_begin);
  out.manifest.set_block_count(static_cast<int32_t>(frame.block_ids.size()));
  out.manifest.set_payload_xxh3(frame.payload_xxh3);
  out.manifest.set_manifest_xxh3(ManifestXxh3(out.manifest));
  out.payload = BlockPieces(environment_.store, frame.layer, frame.block_ids);
  bytes_sent_ += FrameBytes(frame);
  stream_->Send(std::move(out));
}

void PushState::End() {
  std::function<void(absl::Status)> on_done;
  absl::Status result;
  {
    MutexLock lock(mutex_);
    done_ = true;
    on_done = std::move(on_done_);
    on_done_ = nullptr;
    result = committed_ ? absl::OkStatus() : failure_;
    ranges_.clear();
    again_.clear();
    sent_.clear();
  }
  stream_.reset();
  on_done(result);
}

}  // namespace baton::kvcache
