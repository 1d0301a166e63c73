// The hand-over of one sequence, from its first written layer to the acknowledged commit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/mutex.h"
#include "engine/sequence.h"
#include "kvcache/kv_store.h"
#include "kvcache/transfer/kv_sender.h"

namespace baton::prefill_node {

// Thread-safe. Keeps the sequence's blocks from Keep until the transport reads them no more: writer
// lifetime, not request lifetime.
class KvHandoff {
 public:
  // `store` and `sender` must outlive it. `on_done` runs exactly once after Start, on a thread of
  // the sender.
  KvHandoff(const kvcache::KvStore& store, kvcache::KvSender& sender, kvcache::KvPushTarget target,
            int32_t first_missing_block);

  // Opens the push. Does not block.
  void Start(std::function<void(absl::Status)> on_done);
  // The sequence starts with blocks that were cached: pushes those of them that the decode node
  // lacks.
  void PushCached(const engine::Sequence& sequence);
  // One layer of the tokens [begin, end) was written: pushes the blocks that are now complete, and
  // at the prompt's end the last, partly filled one.
  void Push(const engine::Sequence& sequence, int32_t layer, int64_t begin, int64_t end);
  void Commit(const engine::Sequence& sequence, const v1::Token& first_token);
  void Cancel();
  int64_t bytes_sent() const;

 private:
  const kvcache::KvStore& store_;
  kvcache::KvSender& sender_;
  const kvcache::KvPushTarget target_;
  const int32_t first_missing_block_;
  mutable Mutex mutex_;
  std::shared_ptr<kvcache::KvPush> push_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace baton::prefill_node
