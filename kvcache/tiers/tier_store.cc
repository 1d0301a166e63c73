#include "kvcache/tiers/tier_store.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace baton::kvcache {
namespace {

constexpr size_t kWaitingBytesMax = 256 << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<TierStore>> TierStore::Create(const Options& options,
                                                             const Clock& clock) {
  std::unique_ptr<TierStore> store(new TierStore(clock));
  if (options.host_bytes > 0) store->host_ = std::make_unique<HostTier>(options.host_bytes);
  if (!options.disk_folder.empty()) {
    BATON_ASSIGN_OR_RETURN(
        store->disk_, DiskTier::Open(options.disk_folder, options.disk_layout, options.disk_bytes));
    store->writer_ = std::thread([self = store.get()] { self->WriteLoop(); });
  }
  return store;
}

TierStore::~TierStore() { Close(); }

void TierStore::Close() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
    changed_.notify_all();
  }
  if (!writer_.joinable()) return;
  writer_.join();
  if (host_ == nullptr) return;
  for (const StoredBlock& block : host_->Blocks()) disk_->Put(block);
}

void TierStore::Put(const BlockKey& key, absl::Span<const uint8_t> bytes) {
  std::vector<StoredBlock> gone;
  if (host_ != nullptr) {
    gone = host_->Put(key, bytes);
  } else if (disk_ != nullptr && !disk_->Contains(key)) {
    gone = {{key, std::make_shared<std::vector<uint8_t>>(bytes.begin(), bytes.end())}};
  }
  if (!gone.empty()) QueueForDisk(std::move(gone));
}

void TierStore::PutOnDisk(const BlockKey& key, absl::Span<const uint8_t> bytes) {
  if (disk_ == nullptr) return;
  disk_->Put({key, std::make_shared<std::vector<uint8_t>>(bytes.begin(), bytes.end())});
}

void TierStore::QueueForDisk(std::vector<StoredBlock> blocks) {
  std::vector<uint64_t> dropped;
  {
    MutexLock lock(mutex_);
    for (StoredBlock& block : blocks) {
      if (disk_ == nullptr || stop_ || waiting_bytes_ >= kWaitingBytesMax) {
        dropped.push_back(block.key.hash);
      } else {
        waiting_bytes_ += block.bytes->size();
        waiting_.push_back(std::move(block));
      }
    }
    changed_.notify_all();
  }
  TellDropped(std::move(dropped));
}

void TierStore::WriteLoop() {
  while (true) {
    StoredBlock block;
    {
      MutexLock lock(mutex_);
      changed_.wait(mutex_,
                    [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stop_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      block = waiting_.front();
    }
    std::vector<uint64_t> gone = disk_->Put(block);
    {
      MutexLock lock(mutex_);
      waiting_bytes_ -= block.bytes->size();
      waiting_.pop_front();
    }
    TellDropped(std::move(gone));
  }
}

bool TierStore::Contains(const BlockKey& key) const {
  if (host_ != nullptr && host_->Contains(key)) return true;
  if (disk_ == nullptr) return false;
  if (disk_->Contains(key)) return true;
  MutexLock lock(mutex_);
  return std::any_of(waiting_.begin(), waiting_.end(),
                     [&key](const StoredBlock& block) { return block.key == key; });
}

std::shared_ptr<const std::vector<uint8_t>> TierStore::Take(const BlockKey& key, size_t size) {
  const absl::Time begin = clock_.Now();
  std::shared_ptr<const std::vector<uint8_t>> bytes;
  if (host_ != nullptr && (bytes = host_->Take(key)) != nullptr) {
    host_->CountHit(absl::ToDoubleSeconds(clock_.Now() - begin));
    return bytes;
  }
  if (disk_ == nullptr) return nullptr;
  {
    MutexLock lock(mutex_);  // it may still wait to be written
    for (const StoredBlock& block : waiting_) {
      if (block.key == key) bytes = block.bytes;
    }
  }
  if (bytes == nullptr) {
    std::vector<uint8_t> read(size);
    bool gone = false;
    if (!disk_->Get(key, absl::MakeSpan(read), &gone)) {
      if (gone) TellDropped({key.hash});
      return nullptr;
    }
    bytes = std::make_shared<const std::vector<uint8_t>>(std::move(read));
  }
  disk_->CountHit(absl::ToDoubleSeconds(clock_.Now() - begin));
  return bytes;
}

void TierStore::Refresh(absl::Span<const BlockKey> keys) {
  for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
    if (host_ != nullptr) host_->Refresh(*key);
    if (disk_ != nullptr) disk_->Refresh(*key);
  }
}

std::vector<uint64_t> TierStore::Hashes() const {
  std::vector<uint64_t> hashes;
  if (host_ != nullptr) hashes = host_->Hashes();
  if (disk_ != nullptr) {
    const std::vector<uint64_t> more = disk_->Hashes();
    hashes.insert(hashes.end(), more.begin(), more.end());
    MutexLock lock(mutex_);
    for (const StoredBlock& block : waiting_) hashes.push_back(block.key.hash);
  }
  return hashes;
}

bool TierStore::HasHash(uint64_t hash) const {
  if (host_ != nullptr && host_->HasHash(hash)) return true;
  if (disk_ == nullptr) return false;
  if (disk_->HasHash(hash)) return true;
  MutexLock lock(mutex_);
  return std::any_of(waiting_.begin(), waiting_.end(),
                     [hash](const StoredBlock& block) { return block.key.hash == hash; });
}

void TierStore::TellDropped(std::vector<uint64_t> hashes) {
  if (!on_dropped_) return;
  hashes.erase(
      std::remove_if(hashes.begin(), hashes.end(), [this](uint64_t hash) { return HasHash(hash); }),
      hashes.end());
  if (!hashes.empty()) on_dropped_(hashes);
}

}  // namespace baton::kvcache
