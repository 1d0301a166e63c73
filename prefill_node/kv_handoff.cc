#include "prefill_node/kv_handoff.h"

#include <algorithm>
#include <utility>

namespace baton::prefill_node {

KvHandoff::KvHandoff(const kvcache::KvStore& store, kvcache::KvSender& sender,
                     kvcache::KvPushTarget target, int32_t first_missing_block)
    : store_(store),
      sender_(sender),
      target_(std::move(target)),
      first_missing_block_(first_missing_block) {}

void KvHandoff::Start(std::function<void(absl::Status)> on_done) {
  std::shared_ptr<kvcache::KvPush> push = sender_.Start(target_, std::move(on_done));
  bool cancelled;
  {
    MutexLock lock(mutex_);
    push_ = push;
    cancelled = cancelled_;
  }
  if (cancelled) push->Cancel();
}

void KvHandoff::PushCached(const engine::Sequence& sequence) {
  const device::KvGeometry& geometry = store_.geometry();
  const int32_t cached = static_cast<int32_t>(sequence.computed / geometry.block_tokens);
  if (cached <= first_missing_block_) return;
  std::shared_ptr<kvcache::KvPush> push;
  {
    MutexLock lock(mutex_);
    push = push_;
  }
  const absl::Span<const int32_t> blocks =
      sequence.blocks.ids().subspan(first_missing_block_, cached - first_missing_block_);
  for (int32_t layer = 0; layer < geometry.layers; ++layer) {
    push->SendBlocks(layer, first_missing_block_, blocks);
  }
}

void KvHandoff::Push(const engine::Sequence& sequence, int32_t layer, int64_t begin, int64_t end) {
  const int32_t block_tokens = store_.geometry().block_tokens;
  const bool last = end == sequence.length();
  const int32_t first = std::max(static_cast<int32_t>(begin / block_tokens), first_missing_block_);
  const int32_t complete = static_cast<int32_t>(end / block_tokens);
  const int32_t stop = last ? kvcache::BlocksFor(end, block_tokens) : complete;
  if (first >= stop) return;
  if (stop > complete) {
    store_.ZeroTail(layer, sequence.blocks.ids()[complete],
                    static_cast<int32_t>(end % block_tokens));
  }
  std::shared_ptr<kvcache::KvPush> push;
  {
    MutexLock lock(mutex_);
    push = push_;
  }
  if (push != nullptr) {
    push->SendBlocks(layer, first, sequence.blocks.ids().subspan(first, stop - first));
  }
}

void KvHandoff::Commit(const engine::Sequence& sequence, const v1::Token& first_token) {
  std::shared_ptr<kvcache::KvPush> push;
  {
    MutexLock lock(mutex_);
    push = push_;
  }
  if (push != nullptr) {
    push->Commit(static_cast<int32_t>(sequence.prompt_tokens), first_token);
  }
}

void KvHandoff::Cancel() {
  std::shared_ptr<kvcache::KvPush> push;
  {
    MutexLock lock(mutex_);
    cancelled_ = true;
    push = push_;
  }
  if (push != nullptr) push->Cancel();
}

int64_t KvHandoff::bytes_sent() const {
  MutexLock lock(mutex_);
  return push_ == nullptr ? 0 : push_->bytes_sent();
}

}  // namespace baton::prefill_node
