#include "kvcache/tier_reader.h"

#include <utility>

namespace baton::kvcache {

TierReader::TierReader(PrefixCache* cache) : cache_(cache) {
  if (cache_ != nullptr && cache_->has_tiers()) thread_ = std::thread([this] { Loop(); });
}

TierReader::~TierReader() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void TierReader::BringBack(std::vector<BlockKey> keys, std::function<void()> then) {
  if (!thread_.joinable() || !cache_->CanBringBack(keys)) {
    then();
    return;
  }
  MutexLock lock(mutex_);
  tasks_.push_back({std::move(keys), std::move(then)});
  changed_.notify_all();
}

void TierReader::Loop() {
  while (true) {
    Task task;
    {
      MutexLock lock(mutex_);
      changed_.wait(mutex_,
                    [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stop_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    cache_->BringBack(task.keys);
    task.then();
  }
}

}  // namespace baton::kvcache
